"""Layers, depths and quantities as people write them in options."""

import math
import re

from hf_prune.errors import RecipeError

QUANTITY = r"\s*(\d+(?:\.\d*)?(?:e\d+)?)\s*(?:([kmgt]i?)b?|(b?))\s*"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_layers(text: str, option: str = "--layers") -> tuple[int, ...]:
    """The layers that "21-28,30" names, in order, each once.

    Raises:
        RecipeError: a range runs backwards.
    """
    layers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if last and int(last) < int(first):
            raise RecipeError(f"{option} {text}: {part} runs backwards; write {last}-{first} instead")
        layers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(layers))


def parse_protected(text: str | None, num_layers: int) -> frozenset[int]:
    """The layers that "first:4,last:2,11" keeps in a model of `num_layers`.

    Raises:
        RecipeError: a range runs backwards, or a layer does not exist.
    """
    layers: set[int] = set()
    for part in text.split(",") if text else ():
        end, _, count = part.partition(":")
        if end == "first":
            layers.update(range(min(int(count), num_layers)))
        elif end == "last":
            layers.update(range(max(num_layers - int(count), 0), num_layers))
        else:
            layers.update(parse_layers(part, "--protect"))
    if layers and max(layers) >= num_layers:
        raise RecipeError(f"--protect {text}: the model has {num_layers} layers, 0 to {num_layers - 1}")
    return frozenset(layers)


def parse_depths(text: str, num_layers: int) -> tuple[int, ...]:
    """The depths that "12,16,20" names and that of the whole model, in order.

    Raises:
        RecipeError: one is 0, or deeper than the model.
    """
    depths = sorted({*map(int, text.split(",")), num_layers})
    if depths[0] < 1 or depths[-1] > num_layers:
        raise RecipeError(f"--depths {text}: the model has {num_layers} layers; give depths from 1 to that")
    return tuple(depths)


def parse_quantity(text: str) -> int:
    """The number that "5B", "1.2e9", "8GB" or "8GiB" means.

    Raises:
        ValueError: it is not a quantity.
    """
    match = re.fullmatch(QUANTITY, text.lower())
    size = float(match[1]) * UNITS[match[2] or match[3]] if match else math.inf
    if size == math.inf:
        raise ValueError(f"{text!r} is not a quantity like 5B or 8GB")
    return round(size)
