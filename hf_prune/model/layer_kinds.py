"""What makes each decoder layer of a model what it is, apart from its weights.

Layers of one model differ: a window here, experts there, a rotary embedding left out in every fourth. What
the modules of a layer are made of shows it, whatever the configuration calls it. A cut is sound only where
every layer that stays is still of the kind that its weights were trained in.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

Trait = tuple[str, str]  # (module inside the layer, attribute)
Kind = Mapping[Trait, Any]

PLAIN = (bool, int, float, str, type(None))
ABSENT = object()
STOCHASTIC_DEPTH = "drop_path"  # drops layers, the deeper the likelier, in training alone
# Whether a layer leaves keys and values for later ones; `stream` refuses models whose layers take them.
STORES_FOR_LATER = ("store_full_length_kv",)
NUMBERS = ("layer_idx", "layer_id", "layer_number", "layer_index")  # some layers hold two of a cache's


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Where a layer would be of another kind after a cut."""

    layer: int  # its number before
    trait: Trait
    before: Any
    after: Any

    def __str__(self) -> str:
        module, attribute = self.trait
        place = f"{module}.{attribute}" if module else attribute
        return f"layer {self.layer} would have {place} {_told(self.after)} instead of {_told(self.before)}"


def kinds_of(layers: Iterable[nn.Module]) -> tuple[Kind, ...]:
    """The kind of every layer: classes, plain attributes, shapes of parameters, values of buffers."""
    return tuple(_kind(layer) for layer in layers)


def changes(before: tuple[Kind, ...], after: tuple[Kind, ...], kept: tuple[int, ...]) -> list[Change]:
    """How the layers that stay differ from what they were; empty where none does.

    What merely numbers or counts the layers is left out.

    Args:
        before: kinds of all layers of the original.
        after: kinds of the layers of the shorter model.
        kept: the layers that stay, in order.
    """
    numbers, counts = _numberings(before), _counts(before)
    found = []
    for layer, new in zip(kept, after, strict=True):
        old = before[layer]
        for trait in sorted((old.keys() | new.keys()) - numbers):
            was, becomes = old.get(trait, ABSENT), new.get(trait, ABSENT)
            counted = trait in counts and becomes == len(kept)
            if not counted and not _carried(was, becomes, len(before), kept):
                found.append(Change(layer=layer, trait=trait, before=was, after=becomes))
    return found


def _carried(was: Any, becomes: Any, total: int, kept: tuple[int, ...]) -> bool:
    """Whether an attribute says of the shorter model what it said of the whole one."""
    if isinstance(was, float) and isinstance(becomes, float):
        return math.isclose(was, becomes, rel_tol=1e-6)
    if isinstance(was, list | tuple) and len(was) == total:
        sliced = [was[layer] for layer in kept]
        return isinstance(becomes, list | tuple) and list(becomes) in (list(was), sliced)
    return bool(was == becomes)


def _kind(layer: nn.Module) -> dict[Trait, Any]:
    kind: dict[Trait, Any] = {}
    for path, module in layer.named_modules():
        if path.rpartition(".")[2].startswith(STOCHASTIC_DEPTH):
            continue
        kind[path, "class"] = type(module).__name__
        for attribute, value in vars(module).items():
            ignored = attribute.startswith("_") or attribute in ("training", *STORES_FOR_LATER)
            if not ignored and _plain(value):
                kind[path, attribute] = value
        for name, parameter in module._parameters.items():
            kind[path, name] = None if parameter is None else tuple(parameter.shape)
        for name, buffer in module._buffers.items():
            kind[path, name] = _of_buffer(buffer, saved=name not in module._non_persistent_buffers_set)
    return kind


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, PLAIN) for item in value)
    return isinstance(value, PLAIN)


def _of_buffer(buffer: Tensor | None, *, saved: bool) -> Any:
    if buffer is None or buffer.is_meta or saved:  # a saved buffer moves with the layer's weights
        return None if buffer is None else tuple(buffer.shape)
    values = buffer.detach().cpu().float().contiguous().numpy().tobytes()
    return hashlib.sha256(values).hexdigest()


def _numberings(kinds: tuple[Kind, ...]) -> set[Trait]:
    """Attributes that merely number the layers, or the places in a cache that a layer takes."""
    found = set()
    for trait in {trait for kind in kinds for trait in kind}:
        values = [(layer, kind[trait]) for layer, kind in enumerate(kinds) if trait in kind]
        if not all(isinstance(value, int) and not isinstance(value, bool) for _, value in values):
            continue
        starts = {value - layer for layer, value in values}
        numbered = len(starts) == 1 and (len(values) > 1 or starts == {0})
        if numbered or trait[1] in NUMBERS:
            found.add(trait)
    return found


def _counts(kinds: tuple[Kind, ...]) -> set[Trait]:
    """Attributes that say, in every layer that has them, how many layers there are."""
    traits = {trait for kind in kinds for trait, value in kind.items() if type(value) is int}
    return {t for t in traits if all(kind[t] == len(kinds) for kind in kinds if t in kind)}


def _told(value: Any) -> str:
    return "absent" if value is ABSENT else "none" if value is None else f"{value}"
