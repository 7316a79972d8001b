"""What a family's stream of hidden states looks like, as its layers are called.

To enter a model, each layer is replaced by a recorder of its calls. Whatever then shows that more than one
stream goes through the layers in order is a reason to refuse the family.
"""

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_prune.errors import UnsupportedModel
from hf_prune.model.skeleton import Skeleton

# What the code of a model raises when it is called in another way than it expects.
FORWARD_ERRORS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError)


class LastLayerReached(Exception):
    """Raised inside the last layer once its arguments are recorded."""


class LayerDependency(Exception):
    """A layer needs more than the stream; the message says what."""


class StreamChanged(Exception):
    """Something besides the layers reads or changes the stream; the message says what."""


@dataclass
class CallRecorder:
    """Stands in for the layers while the model is entered, and records the arguments of each."""

    hidden: Tensor | None = None
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    marker: Tensor | None = None  # returned beside the state, to see who receives it

    def record(self, state: Tensor, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Record a call with a state and further arguments."""
        self.hidden = state if self.hidden is None else self.hidden
        if state.shape != self.hidden.shape:  # the model took a part of what a layer returned
            raise ValueError("another shape")
        if state is not self.hidden and not torch.equal(state, self.hidden):
            raise StreamChanged("changes the hidden states between one layer and the next")
        further = (*arguments, *keywords.values())
        if self.marker is not None and any(value is self.marker for value in further):
            raise StreamChanged("hands more than hidden states from one layer to the next")
        self.calls.append((arguments, keywords))


@dataclass(frozen=True)
class StateShape:
    """How a family lays out its stream, which the rest of hf-prune sees as (batch, length, width).

    Some run several streams side by side: (batch, length, streams, hidden), or the streams first.
    """

    streams_first: bool = False
    tail: tuple[int, ...] = ()  # the dimensions after batch and length

    @classmethod
    def of(cls, state: Tensor, tokens: Tensor, skeleton: Skeleton) -> "StateShape":
        """Read the layout from the state of some tokens, (batch, length), or images, (batch, ...)."""
        expected = tokens.shape if tokens.dim() == 2 else (len(tokens), state.shape[1])
        for streams_first in (False, True):
            laid = state.movedim(0, 2) if streams_first and state.dim() == 4 else state
            if laid.shape[:2] == expected and laid.dim() > 2:
                return cls(streams_first=streams_first and state.dim() == 4, tail=tuple(laid.shape[2:]))
        raise unsupported_stream(skeleton, "its hidden states are not one for each token")

    def flat(self, state: Tensor) -> Tensor:
        """The state as (batch, length, width)."""
        return (state.movedim(0, 2) if self.streams_first else state).flatten(2)

    def own(self, flat: Tensor) -> Tensor:
        """The state as the family has it."""
        if len(self.tail) == 1:
            return flat
        state = flat.unflatten(2, self.tail)
        return state.movedim(2, 0) if self.streams_first else state


@contextmanager
def in_isolation(keywords: Mapping[str, Any]) -> Iterator[None]:
    """Run a layer and remove what it leaves for later layers in the dictionaries among its arguments.

    A layer may leave keys and values that no layer of this model takes (Gemma 4 without shared layers).
    A layer that does take them misses them, which shows that the layers depend on one another.

    Raises:
        LayerDependency: the layer looks for what an earlier one left.
    """
    shared = {name: value for name, value in keywords.items() if isinstance(value, MutableMapping)}
    before = {name: set(value) for name, value in shared.items()}
    try:
        yield
    except KeyError as error:
        for name, value in shared.items():
            if not before[name] and error.args and error.args[0] not in value:
                raise LayerDependency(f"takes {name} of an earlier layer") from error
        raise
    finally:
        for name, value in shared.items():
            for key in set(value) - before[name]:
                del value[key]


def alike(first: Any, second: Any) -> bool:
    """Whether two nests of arguments hold the same values."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and first.shape == second.shape and torch.equal(first, second)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(alike(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return len(first) == len(second) and all(map(alike, first, second))
    return first is second or bool(first == second)


def unsupported_stream(skeleton: Skeleton, reason: str) -> UnsupportedModel:
    """The refusal of a family that does not pass one stream through its layers in order."""
    return UnsupportedModel(
        f"{type(skeleton.model).__name__} does not pass one stream of hidden states through its "
        f"{skeleton.num_layers} layers in order ({reason}); such models cannot be cut so far"
    )
