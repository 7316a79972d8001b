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

MOST_LAYERS = 1000  # no model has more


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

    def convert(self, model: PreTrainedModel, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The parameters by their names in `model`; `read` gives a tensor by its name on disk."""
        if self.rule is None:
            return {self.target: read(self.stored[0])}
        rule: Any = deepcopy(self.rule)
        for pattern, name in self.sources:
            rule.add_tensor(self.target, name, pattern, read(name))
        converted = rule.convert(self.target, model=model, config=model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in converted.items()}


@dataclass(frozen=True)
class LoadingRules:
    """The rules by which transformers renames and converts a model's tensors while it loads them."""

    renamings: list[WeightRenaming]
    converters: list[WeightConverter]
    base_model_prefix: str
    model_tensors: dict[str, Tensor]  # parameters and saved buffers of the model, on the meta device

    def target(self, stored: str) -> tuple[str, str | None]:
        """The parameter that a tensor becomes (a part of), and the pattern of the rule that makes it.

        If the model has no use for the tensor, the name is no parameter of the model.
        """
        rest = (self.base_model_prefix, self.model_tensors)
        renamed, pattern = rename_source_key(stored, self.renamings, self.converters, *rest)
        if renamed not in self.model_tensors and stored in self.model_tensors:
            renamed, pattern = rename_source_key(stored, [], [], *rest)
        return renamed, pattern


def loading_rules(model: PreTrainedModel, quantization: Mapping[str, Any] | None = None) -> LoadingRules:
    """The rules that transformers has for loading a model; quantised tensors become full-precision ones."""
    quantizer = None
    if quantization is not None:
        quantizer = AutoHfQuantizer.from_config({**quantization, "dequantize": True}, pre_quantized=True)
    rules = get_model_conversion_mapping(model, hf_quantizer=quantizer)
    return LoadingRules(
        renamings=[rule for rule in rules if isinstance(rule, WeightRenaming)],
        converters=[rule for rule in rules if isinstance(rule, WeightConverter)],
        base_model_prefix=model.base_model_prefix,
        model_tensors=model.state_dict(),
    )


def conversions(rules: LoadingRules, stored: Iterable[str]) -> tuple[Conversion, ...]:
    """How a model's parameters come out of the tensors `stored`; those that it does not use are left out."""
    converters = {pattern: rule for rule in rules.converters for pattern in rule.source_patterns}
    by_target: dict[str, Conversion] = {}
    for name in sorted(stored, key=dot_natural_key):  # experts are stacked in this order
        target, pattern = rules.target(name)
        if target not in rules.model_tensors:
            continue
        known = by_target.get(target, Conversion(target, (), converters.get(pattern) if pattern else None))
        by_target[target] = Conversion(target, (*known.sources, (pattern or name, name)), known.rule)
    return tuple(by_target.values())


def converted_shapes(
    conversion: Conversion, model: PreTrainedModel, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """The shapes of the parameters that come out of a conversion, from those of its tensors alone.

    Raises:
        UnsupportedModel: the tensors do not fit together.
    """
    try:
        parameters = conversion.convert(model, lambda name: torch.empty(shapes[name], device="meta"))
    except (RuntimeError, ValueError, IndexError, KeyError, StopIteration) as error:
        raise UnsupportedModel(
            f"transformers cannot make {conversion.target} of {', '.join(conversion.stored[:3])}: "
            f"{first_line(error)}"
        ) from error
    return {name: tuple(value.shape) for name, value in parameters.items()}


@dataclass(frozen=True, slots=True)
class LayerNumber:
    """The number of its layer in a tensor's name on disk, and between which characters it stands."""

    layer: int
    start: int
    stop: int
    offset: int = 0  # the number in the name minus the layer's own: some names do not count from 0

    def renumbered(self, name: str, layer: int) -> str:
        """The name with another layer's number."""
        return f"{name[: self.start]}{layer + self.offset}{name[self.stop :]}"


def layer_numbers(
    rules: LoadingRules, converted: Iterable[Conversion], stored: Iterable[str], layer_path: str
) -> dict[str, LayerNumber]:
    """By the name of a tensor on disk, the number of its layer; tensors outside the layers are left out.

    Raises:
        UnsupportedModel: no number in a name is the layer's.
    """
    numbers: dict[str, LayerNumber] = {}
    offsets: dict[str, int] = {}  # by what stands before the number in names on disk: "model.layers."
    for conversion in converted:
        match = re.match(rf"{re.escape(layer_path)}\.(\d+)\.", conversion.target)
        if match is None:
            continue
        for name in conversion.stored:
            number = _number_after_known_prefix(name, offsets)
            if number is None or number.layer != int(match[1]):
                number = _number_of_layer_in(name, conversion.target, match, rules)
                offsets[name[: number.start]] = number.offset
            numbers[name] = number
    for name in stored:
        # What the model has no use for moves with its layer too.
        known = numbers.get(name) or _number_after_known_prefix(name, offsets)
        if known is not None:
            numbers[name] = known
    return numbers


def _number_after_known_prefix(name: str, offsets: Mapping[str, int]) -> LayerNumber | None:
    for prefix, offset in offsets.items():
        if name.startswith(prefix) and (match := re.match(r"\d+(?=\.|$)", name[len(prefix) :])):
            return LayerNumber(int(match[0]) - offset, len(prefix), len(prefix) + len(match[0]), offset)
    return None


def _number_of_layer_in(name: str, target: str, in_target: re.Match[str], rules: LoadingRules) -> LayerNumber:
    """Which of the numbers in a tensor's name is its layer's, as `in_target` is in the parameter it becomes.

    Found by trying: with another layer's number there, the tensor becomes the same parameter of that layer.
    """
    layer, before, after = int(in_target[1]), target[: in_target.start(1)], target[in_target.end(1) :]
    matches = re.finditer(r"(?<![^._])\d+(?![^._])", name)
    candidates = [LayerNumber(layer, m.start(), m.end(), int(m[0]) - layer) for m in matches]
    others = (n for n in range(MOST_LAYERS) if n != layer and f"{before}{n}{after}" in rules.model_tensors)
    for other in others:
        for candidate in candidates:
            renamed = candidate.renumbered(name, other)
            if other + candidate.offset >= 0 and rules.target(renamed)[0] == f"{before}{other}{after}":
                return candidate
    # No other layer has such a tensor: then the number has to be the layer's own.
    if len(same := [candidate for candidate in candidates if candidate.offset == 0]) == 1:
        return same[0]
    raise UnsupportedModel(
        f"no number in {name} is the number of layer {layer}; such a checkpoint cannot be cut so far"
    )
