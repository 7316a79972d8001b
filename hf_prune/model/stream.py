"""What a family's stream of hidden states looks like, as its layers are called.

A model is entered with each layer replaced by one that takes notes. Whatever then shows that more than one
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

# What the code of a model raises when it is called otherwise than it expects.
UNLIKE = (ValueError, TypeError, LookupError, AttributeError, RuntimeError)


class Entered(Exception):
    """Raised inside the last layer once its arguments are known."""


class Dependent(Exception):
    """Raised where a layer needs more than the stream; the message says what."""


class Meddled(Exception):
    """Raised where something besides the layers has a part in the stream; the message says what."""


@dataclass
class NoteTaker:
    """Stands in for the layers while the model enters: notes each one's arguments."""

    hidden: Tensor | None = None
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    mark: Tensor | None = None  # answered beside the state, to see who gets it

    def add(self, state: Tensor, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        """Note a call with a state and further arguments."""
        self.hidden = state if self.hidden is None else self.hidden
        if state.shape != self.hidden.shape:  # the model took a part of what a layer answered
            raise ValueError("another shape")
        if state is not self.hidden and not torch.equal(state, self.hidden):
            raise Meddled("changes the hidden states between one layer and the next")
        if self.mark is not None and any(value is self.mark for value in (*arguments, *keywords.values())):
            raise Meddled("hands more than hidden states from one layer to the next")
        self.calls.append((arguments, keywords))


@dataclass(frozen=True)
class StateShape:
    """How a family lays out its stream, which everybody else sees as (batch, length, width).

    Some run several streams side by side: (batch, length, streams, hidden), or the streams first.
    """

    streams_first: bool = False
    tail: tuple[int, ...] = ()  # beyond batch and length

    @classmethod
    def of(cls, state: Tensor, tokens: Tensor, skeleton: Skeleton) -> "StateShape":
        """Read off a state that stands for tokens, (batch, length), or images, (batch, ...)."""
        wanted = tokens.shape if tokens.dim() == 2 else (len(tokens), state.shape[1])
        for streams_first in (False, True):
            laid = state.movedim(0, 2) if streams_first and state.dim() == 4 else state
            if laid.shape[:2] == wanted and laid.dim() > 2:
                return cls(streams_first=streams_first and state.dim() == 4, tail=tuple(laid.shape[2:]))
        raise UnsupportedModel(strange(skeleton, "its hidden states are not one for each token"))

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
    """Run a layer so that no later one finds what it leaves in the dictionaries among its arguments.

    A layer may leave keys and values that no layer of this model takes (Gemma 4 without shared layers).
    One that does take them finds nothing, which is what shows that the layers depend on one another.

    Raises:
        Dependent: the layer looks for what an earlier one left.
    """
    shared = {name: value for name, value in keywords.items() if isinstance(value, MutableMapping)}
    before = {name: set(value) for name, value in shared.items()}
    try:
        yield
    except KeyError as error:
        for name, value in shared.items():
            if not before[name] and error.args and error.args[0] not in value:
                raise Dependent(f"takes {name} of an earlier layer") from error
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


def strange(skeleton: Skeleton, reason: str) -> str:
    """The refusal of a family whose layers are not what this package takes layers to be."""
    return (
        f"{type(skeleton.model).__name__} does not pass one stream of hidden states through its "
        f"{skeleton.num_layers} layers in order ({reason}); such models cannot be cut so far"
    )
