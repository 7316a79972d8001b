"""A model that answers as its first so many layers alone, followed by its own final norm and head.

Sorted LLaMA (2309.08968) trains such sub-models together: they share every layer, the norm and the head. The
model's own forward does all around the layers, whatever its family; only the layers are told to stand aside.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn


class Depths:
    """Lets the layers of a model stand aside."""

    def __init__(self, layers: nn.ModuleList) -> None:
        self._last = len(layers)
        self._wanted: frozenset[int] = frozenset()
        self._states: dict[int, Tensor] = {}
        self._answer: Tensor | None = None
        self._answers = 0  # how many values a layer of this family answers in a tuple; 0: a tensor alone
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
        """Inside, the states behind the first so many layers are kept as the model passes them."""
        self._wanted, self._states = frozenset(depths), {}
        try:
            yield self._states
        finally:
            self._wanted = frozenset()

    @contextmanager
    def answering(self, states: Tensor) -> Iterator[None]:
        """Inside, the layers do nothing but answer these states: the norm and the head are run on them."""
        self._answer = states
        try:
            yield
        finally:
            self._answer = None

    def _forward(self, number: int, own: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        if self._answer is not None:
            return self._as_answered(self._answer)
        if number >= self._last:
            return self._as_answered(arguments[0] if arguments else keywords["hidden_states"])
        output = own(*arguments, **keywords)
        self._answers = len(output) if isinstance(output, tuple | list) else 0
        if number + 1 in self._wanted:
            self._states[number + 1] = output[0] if self._answers else output
        return output

    def _as_answered(self, states: Tensor) -> Any:
        return (states, *[None] * (self._answers - 1)) if self._answers else states
