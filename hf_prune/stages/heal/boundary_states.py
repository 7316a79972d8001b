"""The hidden states that leave the layers before the gaps, recorded while a model is trained."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


class StopForward(Exception):
    """Ends a forward pass early: no later layer is needed for the loss."""


class BoundaryStates:
    """Records the output of some layers, in training alone."""

    def __init__(self, layers: nn.ModuleList, carriers: Sequence[int], *, stop_after_last: bool) -> None:
        """Hook into the carriers among the layers, in order; maybe raise `StopForward` after the last."""
        self.recorded: list[Tensor] = []  # (windows, length, hidden), one for each carrier
        for carrier in carriers:
            layers[carrier].register_forward_hook(self._record)
        if stop_after_last:
            layers[carriers[-1]].register_forward_hook(self._stop)

    def _record(self, layer: nn.Module, _: Any, output: Any) -> None:
        if layer.training:
            self.recorded.append(output[0] if isinstance(output, tuple | list) else output)

    def _stop(self, layer: nn.Module, *_: Any) -> None:
        if layer.training:
            raise StopForward
