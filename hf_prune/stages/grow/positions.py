"""Positions of new layers: Llama SLayer (2410.02330) inserts them into the shallow half only."""

from collections.abc import Sequence

from hf_prune.errors import RecipeError
from hf_prune.records import Block

AUTO = "auto"


def shallow_half(num_layers: int) -> Block:
    """The layers among which new ones are inserted: the first half, which holds knowledge."""
    return Block(start=0, end=num_layers // 2)


def positions_for(grow: str, num_layers: int) -> tuple[int, ...]:
    """The layers that a new layer follows, in a model of `num_layers`.

    For "auto" they are those of the paper, every second layer of the shallow half: of 32 layers 1, 3, 5, ...,
    15. Any other number of new layers is spread evenly over that half.

    Raises:
        RecipeError: so many layers do not fit, or the model has too few layers.
    """
    half = shallow_half(num_layers).end
    every_second = tuple(range(1, half, 2))
    count = len(every_second) if grow == AUTO else int(grow)
    if not 1 <= count <= half:
        raise RecipeError(
            f"--grow {grow}: a model of {num_layers} layers can take 1 to {half} new layers, one after each "
            f"layer of its first half. Give a number in that range"
        )
    if count == len(every_second):
        return every_second
    return tuple((number + 1) * half // count - 1 for number in range(count))


def grown_from(num_layers: int, after: Sequence[int]) -> tuple[int, ...]:
    """For each layer of the grown model, the old layer that it is or follows: 0, 1, 1, 2, 3, 3, ..."""
    return tuple(sorted((*range(num_layers), *after)))


def new_layers(after: Sequence[int]) -> tuple[int, ...]:
    """The numbers of the new layers in the grown model."""
    return tuple(layer + 1 + earlier for earlier, layer in enumerate(sorted(after)))


def number_after(layer: int, after: Sequence[int]) -> int:
    """The number of an old layer in the grown model."""
    return layer + sum(position < layer for position in after)
