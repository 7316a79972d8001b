"""A model that is run at several depths: its first layers alone, then its own final norm and head.

Sorted LLaMA (2309.08968) trains such sub-models together: they share every layer, the norm and the head. The
model's own forward does everything around the layers, whatever its family. Only the layers are skipped.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn


class Depths:
    """Skips layers of a model, in place of their forward."""

    def __init__(self, layers: nn.ModuleList) -> None:
        self._last = len(layers)
        self._watched: frozenset[int] = frozenset()
        self._states: dict[int, Tensor] = {}
        self._replacement: Tensor | None = None
        self._tuple_length = 0  # of what a layer of this family returns; 0: a tensor alone
        for number, layer in enumerate(layers):
            layer.forward = partial(self._forward, number, layer.forward)

    @contextmanager
    def only(self, depth: int) -> Iterator[None]:
        """Inside, the model has its first `depth` layers alone."""
        before, self._last = self._last, depth
        try:
            yield
        finally:
            self._last = before

    @contextmanager
    def watched(self, depths: tuple[int, ...]) -> Iterator[dict[int, Tensor]]:
        """Inside, the hidden states after each of these numbers of layers are kept as the model runs."""
        self._watched, self._states = frozenset(depths), {}
        try:
            yield self._states
        finally:
            self._watched = frozenset()

    @contextmanager
    def answering(self, states: Tensor) -> Iterator[None]:
        """Inside, every layer only returns these states, so that the norm and the head are run on them."""
        self._replacement = states
        try:
            yield
        finally:
            self._replacement = None

    def _forward(self, number: int, own: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if self._replacement is not None:
            return self._like_an_output(self._replacement)
        if number >= self._last:
            return self._like_an_output(arguments[0] if arguments else keywords["hidden_states"])
        output = own(*arguments, **keywords)
        self._tuple_length = len(output) if isinstance(output, tuple | list) else 0
        if number + 1 in self._watched:
            self._states[number + 1] = output[0] if self._tuple_length else output
        return output

    def _like_an_output(self, states: Tensor) -> Any:
        return (states, *[None] * (self._tuple_length - 1)) if self._tuple_length else states
