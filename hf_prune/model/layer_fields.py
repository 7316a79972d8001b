"""The ways in which a field of `config.json` describes single layers, and its value for the layers that stay.

Each kind of field is one function. From a field's name and value it makes the value for the shorter model;
None means that the field is of another kind. Those in `RECOGNISED` show in the name and value themselves.
Those in `GUESSED` do not: `layer_config` takes such a value only if it makes layers right that were wrong.
The examples in the docstrings keep the layers 0, 2, 4 and 5 of 6.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Edit = dict[str, Any]  # new values by field

NUMBERS_LAYERS = re.compile(r"layer|idx|index|indices")  # in the name of a set of layer numbers


@dataclass(frozen=True, slots=True)
class KeptLayers:
    """The layers that stay, in order, of the `total` that the original has."""

    numbers: tuple[int, ...]
    total: int
    first_number: int = 0  # of layer 0 in sets of layer numbers: 0 or 1

    def renumbered(self, numbers: Iterable[int], first: int) -> list[int]:
        """The new numbers of the layers in a set that stay; `first` is the number of layer 0."""
        return [new + first for new, old in enumerate(self.numbers) if old + first in numbers]


FieldKind = Callable[[str, Any, KeptLayers], Any]


def entries_by_number(name: str, value: Any, kept: KeptLayers) -> dict[str, Any] | None:
    """An object whose keys are layer numbers."""
    if not isinstance(value, dict) or not value or "layer" not in name:
        return None
    if not all(re.fullmatch(r"\d+", str(key)) for key in value) or max(map(int, value)) >= kept.total:
        return None
    return {str(new): value[str(old)] for new, old in enumerate(kept.numbers) if str(old) in value}


def all_layer_numbers(name: str, value: Any, kept: KeptLayers) -> list[int] | None:
    """The set of all layers: it stays the set of all."""
    if NUMBERS_LAYERS.search(name) and value == list(range(kept.total)):
        return list(range(len(kept.numbers)))
    return None


def entry_per_layer(name: str, value: Any, kept: KeptLayers) -> list[Any] | str | None:
    """A list with one entry for each layer, or a text with one letter: "MEMEME" becomes "MMME"."""
    is_text = isinstance(value, str) and "pattern" in name
    if not (is_text or isinstance(value, list)) or len(value) != kept.total:
        return None
    entries = [value[layer] for layer in kept.numbers]
    return "".join(entries) if is_text else entries


def runs_of_patterns(name: str, value: Any, kept: KeptLayers) -> list[Any] | None:
    """[[["a", "b"], 3]], patterns and their times (GPT-Neo), becomes [[["a", "a", "a", "b"], 1]]."""
    if not isinstance(value, list) or not value or not all(map(_is_run, value)):
        return None
    each = [item for pattern, times in value for item in pattern * times]
    return [[[each[layer] for layer in kept.numbers], 1]] if len(each) == kept.total else None


def _is_run(item: Any) -> bool:
    pair = isinstance(item, list) and len(item) == 2
    return pair and isinstance(item[0], list) and isinstance(item[1], int)


def layer_numbers(name: str, value: Any, kept: KeptLayers) -> list[int] | None:
    """A set of layer numbers: [0, 4] becomes [0, 2]."""
    if NUMBERS_LAYERS.search(name) and _are_numbers(value, kept.total + kept.first_number):
        return kept.renumbered(value, kept.first_number)
    return None


def _are_numbers(value: Any, limit: int) -> bool:
    if not isinstance(value, list) or not value:
        return False
    whole = all(type(item) is int and 0 <= item < limit for item in value)
    return whole and len(set(value)) == len(value)


RECOGNISED: tuple[FieldKind, ...] = (
    entries_by_number,
    all_layer_numbers,
    entry_per_layer,
    runs_of_patterns,
    layer_numbers,
)


def value_for(name: str, value: Any, kept: KeptLayers) -> Any:
    """The value of a field for the layers that stay; None if it does not describe single layers."""
    if "token" in name:
        return None
    shorter = (kind(name, value, kept) for kind in RECOGNISED)
    return next((new for new in shorter if new is not None), None)


def count_of_first_layers(name: str, value: Any, kept: KeptLayers) -> int | None:
    """How many layers at the beginning are of a kind: 3 becomes 2."""
    return sum(layer < value for layer in kept.numbers) if _may_count(value, kept) else None


def count_of_last_layers(name: str, value: Any, kept: KeptLayers) -> int | None:
    """How many layers at the end are of a kind."""
    return sum(layer >= kept.total - value for layer in kept.numbers) if _may_count(value, kept) else None


def _may_count(value: Any, kept: KeptLayers) -> bool:
    return type(value) is int and 0 < value <= kept.total


def depth_factor(name: str, value: Any, kept: KeptLayers) -> float | None:
    """A factor that the model divides by the square root of its depth."""
    if not isinstance(value, float) or not value:
        return None
    return value * math.sqrt(len(kept.numbers) / kept.total)


def layer_numbers_from_one(name: str, value: Any, kept: KeptLayers) -> list[int] | None:
    """A set of layer numbers that count from 1."""
    return kept.renumbered(value, 1) if _is_list(name, value) and NUMBERS_LAYERS.search(name) else None


def repeating_pattern(name: str, value: Any, kept: KeptLayers) -> list[Any] | None:
    """A pattern that repeats: written out for each layer."""
    if not _is_list(name, value) or not 1 < len(value) < kept.total or _are_numbers(value, kept.total):
        return None
    return [value[layer % len(value)] for layer in kept.numbers]


def _is_list(name: str, value: Any) -> bool:
    return isinstance(value, list) and "token" not in name


GUESSED: tuple[FieldKind, ...] = (
    count_of_first_layers,
    count_of_last_layers,
    depth_factor,
    layer_numbers_from_one,
    repeating_pattern,
)


def guesses(fields: Mapping[str, Any], kept: KeptLayers, sets: Iterable[list[int]]) -> Iterator[Edit]:
    """Values that the original's fields may need in the shorter model, each to be tried.

    `sets` are sets of new layer numbers. One of them may describe what a period did before the cut.
    """
    for name, value in fields.items():
        values = (kind(name, value, kept) for kind in GUESSED)
        yield from ({name: new} for new in values if new is not None)
    lists = [name for name, value in fields.items() if _is_list(name, value)]
    numbering = [name for name in lists if NUMBERS_LAYERS.search(name)]
    periods = [name for name, value in fields.items() if type(value) is int and 1 < value <= kept.total]
    for name, period in itertools.product(numbering, periods):
        yield from ({name: numbers, period: 1} for numbers in sets)
