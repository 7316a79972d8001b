"""Where new layers go: Llama SLayer (2410.02330) puts them into the shallow half alone."""

from collections.abc import Sequence

from hf_prune.errors import RecipeError
from hf_prune.records import Block

AUTO = "auto"


def shallow_half(num_layers: int) -> Block:
    """The layers among which new ones are put: the first half, where knowledge is held."""
    return Block(start=0, end=num_layers // 2)


def places_for(grow: str, num_layers: int) -> tuple[int, ...]:
    """The layers that a new one follows.

    As the paper has it, every second layer of the shallow half: of 32, after 1, 3, 5, ..., 15. Another
    number of new layers is spread over that half evenly.

    Args:
        grow: how many, or `AUTO`: as the paper has it.
        num_layers: of the model that grows.

    Raises:
        RecipeError: that many do not fit, or the model has too few layers.
    """
    half = shallow_half(num_layers).end
    every_second = tuple(range(1, half, 2))
    count = len(every_second) if grow == AUTO else int(grow)
    if not 1 <= count <= half:
        raise RecipeError(
            f"--grow {grow}: into {num_layers} layers 1 to {half} new ones can go, one after each "
            f"layer of its first half; give such a number"
        )
    if count == len(every_second):
        return every_second
    return tuple((number + 1) * half // count - 1 for number in range(count))


def grown_from(num_layers: int, after: Sequence[int]) -> tuple[int, ...]:
    """The layer that each layer of the grown model is, or follows as a new one: 0, 1, 1, 2, 3, 3, ..."""
    return tuple(sorted((*range(num_layers), *after)))


def new_layers(after: Sequence[int]) -> tuple[int, ...]:
    """The numbers that the new layers have in the grown model."""
    return tuple(layer + 1 + number for number, layer in enumerate(sorted(after)))


def number_after(layer: int, after: Sequence[int]) -> int:
    """The number that a layer of the model before growing has in the grown one."""
    return layer + sum(place < layer for place in after)
