"""How the tensors of a checkpoint become a model's parameters.

A checkpoint need not use the model's own names: transformers renames while it loads, stacks the experts of
a mixture, splits a fused projection. Its own rules are applied here to some tensors at a time, so that one
layer can be read without the rest.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
)
from transformers.quantizers.auto import AutoHfQuantizer

from hf_prune.errors import UnsupportedModel, first_line

MOST_LAYERS = 1000  # that any model has


@dataclass(frozen=True)
class Conversion:
    """Some tensors on disk, and the parameters that transformers makes of them together."""

    target: str  # the parameter, or the first of several
    sources: tuple[tuple[str, str], ...]  # (pattern of the rule, name on disk)
    rule: WeightConverter | None = None  # None: one tensor, taken as it is

    @property
    def stored(self) -> tuple[str, ...]:
        """The names on disk."""
        return tuple(name for _, name in self.sources)

    def make(self, model: PreTrainedModel, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The parameters, by their names in the model.

        Args:
            model: they are for; it is left as it is.
            read: a tensor by its name on disk.
        """
        if self.rule is None:
            return {self.target: read(self.stored[0])}
        rule: Any = deepcopy(self.rule)
        for pattern, name in self.sources:
            rule.add_tensor(self.target, name, pattern, read(name))
        made = rule.convert(self.target, model=model, config=model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


@dataclass(frozen=True)
class Names:
    """The rules by which a model's tensors are renamed when they are loaded."""

    renamings: list[WeightRenaming]
    converters: list[WeightConverter]
    base_model_prefix: str
    wanted: dict[str, Tensor]  # parameters and saved buffers of the model, on the meta device

    def target(self, stored: str) -> tuple[str, str | None]:
        """The parameter that a tensor becomes (a part of), and the pattern of the rule that makes it.

        The answer is no parameter of the model where it has no use for the tensor.
        """
        rest = (self.base_model_prefix, self.wanted)
        renamed, pattern = rename_source_key(stored, self.renamings, self.converters, *rest)
        if renamed not in self.wanted and stored in self.wanted:
            renamed, pattern = rename_source_key(stored, [], [], *rest)
        return renamed, pattern


def names_of(model: PreTrainedModel, quantization: Mapping[str, Any] | None = None) -> Names:
    """The rules that transformers has for loading a model.

    Args:
        model: on the meta device.
        quantization: of its configuration: how the stored tensors become full-precision ones; None: they
            are full precision.
    """
    quantizer = None
    if quantization is not None:
        quantizer = AutoHfQuantizer.from_config({**quantization, "dequantize": True}, pre_quantized=True)
    rules = get_model_conversion_mapping(model, hf_quantizer=quantizer)
    return Names(
        renamings=[rule for rule in rules if isinstance(rule, WeightRenaming)],
        converters=[rule for rule in rules if isinstance(rule, WeightConverter)],
        base_model_prefix=model.base_model_prefix,
        wanted=model.state_dict(),
    )


def conversions(names: Names, stored: Iterable[str]) -> tuple[Conversion, ...]:
    """How a model's parameters come out of a checkpoint; tensors that it has no use for are left out.

    Args:
        names: the model's rules.
        stored: the names on disk.
    """
    rules = {pattern: rule for rule in names.converters for pattern in rule.source_patterns}
    found: dict[str, Conversion] = {}
    for name in sorted(stored, key=dot_natural_key):  # experts are stacked in this order
        target, pattern = names.target(name)
        if target not in names.wanted:
            continue
        known = found.get(target, Conversion(target, (), rules.get(pattern) if pattern else None))
        found[target] = Conversion(target, (*known.sources, (pattern or name, name)), known.rule)
    return tuple(found.values())


def shapes_made(
    conversion: Conversion, model: PreTrainedModel, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The parameters that come out of a conversion, from the shapes of its tensors alone.

    Raises:
        UnsupportedModel: the tensors do not fit together.
    """

    def empty(name: str) -> Tensor:
        return torch.empty(shapes[name], device="meta")

    try:
        made = conversion.make(model, empty)
    except (RuntimeError, ValueError, IndexError, KeyError, StopIteration) as error:
        raise UnsupportedModel(
            f"transformers cannot make {conversion.target} of {', '.join(conversion.stored[:3])}: "
            f"{first_line(error)}"
        ) from error
    return {name: tuple(value.shape) for name, value in made.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the number of its layer stands in a tensor's name on disk."""

    layer: int
    start: int
    stop: int
    offset: int = 0  # of the number from the layer's own: some names count from elsewhere

    def moved(self, name: str, layer: int) -> str:
        """The name with another layer's number."""
        return f"{name[: self.start]}{layer + self.offset}{name[self.stop :]}"


def layer_places(
    names: Names, found: Iterable[Conversion], stored: Iterable[str], layer_path: str
) -> dict[str, Place]:
    """The layers that tensors on disk belong to; those outside the layers are left out.

    Which of the numbers in a name is the layer's is found by trying: with another number there, the tensor
    becomes the same parameter of another layer.

    Args:
        names: the model's rules.
        found: how its parameters come out of the checkpoint.
        stored: all names on disk.
        layer_path: of the layers in the model.

    Raises:
        UnsupportedModel: no number in a name is the layer's.
    """
    places: dict[str, Place] = {}
    prefixes: dict[str, int] = {}  # of names on disk, up to the number, and its offset: "model.layers."
    inside = re.compile(rf"{re.escape(layer_path)}\.(\d+)\.")
    for conversion in found:
        match = inside.match(conversion.target)
        for name in conversion.stored if match else ():
            assert match is not None
            place = _after_prefix(name, prefixes)
            if place is None or place.layer != int(match[1]):
                place = _tried(names, name, conversion.target, match)
                prefixes[name[: place.start]] = place.offset
            places[name] = place
    for name in stored:
        # What the model has no use for moves with its layer too.
        place = places.get(name) or _after_prefix(name, prefixes)
        if place is not None:
            places[name] = place
    return places


def _after_prefix(name: str, prefixes: Mapping[str, int]) -> Place | None:
    for prefix, offset in prefixes.items():
        if name.startswith(prefix) and (match := re.match(r"\d+(?=\.|$)", name[len(prefix) :])):
            return Place(int(match[0]) - offset, len(prefix), len(prefix) + len(match[0]), offset)
    return None


def _tried(names: Names, name: str, target: str, inside: re.Match[str]) -> Place:
    layer, before, after = int(inside[1]), target[: inside.start(1)], target[inside.end(1) :]
    numbers = re.finditer(r"(?<![^._])\d+(?![^._])", name)
    places = [Place(layer, n.start(), n.end(), int(n[0]) - layer) for n in numbers]
    others = (n for n in range(MOST_LAYERS) if n != layer and f"{before}{n}{after}" in names.wanted)
    for other in others:
        for place in places:
            moved = place.moved(name, other)
            if other + place.offset >= 0 and names.target(moved)[0] == f"{before}{other}{after}":
                return place
    if len(plain := [place for place in places if place.offset == 0]) == 1:
        return plain[0]  # no other layer has such a tensor
    raise UnsupportedModel(
        f"no number in {name} is the number of layer {layer}; such a checkpoint cannot be cut so far"
    )
