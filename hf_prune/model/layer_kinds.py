"""The kind of each decoder layer of a model: all that it is apart from its weights.

Layers of one model differ: a window here, experts there, no rotary embedding in every fourth. The modules
of a layer show it, whatever the configuration calls it. A cut is sound only if every layer that stays is
still of the kind that its weights were trained in.
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
NUMBERS = ("layer_idx", "layer_id", "layer_number", "layer_index")  # some layers have two slots in a cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A layer that would be of another kind after a cut."""

    layer: int  # its number before the cut
    trait: Trait
    before: Any
    after: Any

    def __str__(self) -> str:
        module, attribute = self.trait
        path = f"{module}.{attribute}" if module else attribute
        values = (self.before, self.after)
        before, after = ("absent" if v is ABSENT else "none" if v is None else v for v in values)
        return f"layer {self.layer} would have {path} {after} instead of {before}"


def kinds_of(layers: Iterable[nn.Module]) -> tuple[Kind, ...]:
    """The kind of every layer: classes, plain attributes, shapes of parameters, values of buffers."""
    return tuple(_kind(layer) for layer in layers)


def changes(before: tuple[Kind, ...], after: tuple[Kind, ...], kept: tuple[int, ...]) -> list[Change]:
    """How the layers `kept` would differ from what they were among all layers of the original (`before`).

    Traits that merely number or count the layers are left out.
    """
    numbers, counts = _numberings(before), _counts(before)
    differences = []
    for layer, new in zip(kept, after, strict=True):
        old = before[layer]
        for trait in sorted((old.keys() | new.keys()) - numbers):
            was, becomes = old.get(trait, ABSENT), new.get(trait, ABSENT)
            counted = trait in counts and becomes == len(kept)
            if not counted and not _carried(was, becomes, len(before), kept):
                differences.append(Change(layer=layer, trait=trait, before=was, after=becomes))
    return differences


def _carried(was: Any, becomes: Any, total: int, kept: tuple[int, ...]) -> bool:
    """Whether an attribute means in the shorter model what it meant in the original."""
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
            items = value if isinstance(value, list | tuple) else (value,)
            if not ignored and all(isinstance(item, PLAIN) for item in items):
                kind[path, attribute] = value
        for name, tensor in {**module._parameters, **module._buffers}.items():
            kind[path, name] = _tensor_trait(tensor, saved=name not in module._non_persistent_buffers_set)
    return kind


def _tensor_trait(tensor: Tensor | None, *, saved: bool) -> Any:
    if tensor is None or tensor.is_meta or saved:  # what is saved moves with the layer's weights
        return None if tensor is None else tuple(tensor.shape)
    values = tensor.detach().cpu().float().contiguous().numpy().tobytes()
    return hashlib.sha256(values).hexdigest()


def _numberings(kinds: tuple[Kind, ...]) -> set[Trait]:
    """Attributes that merely number the layers, or the slots in a cache that a layer takes."""
    numberings = set()
    for trait in {trait for kind in kinds for trait in kind}:
        values = [(layer, kind[trait]) for layer, kind in enumerate(kinds) if trait in kind]
        if not all(isinstance(value, int) and not isinstance(value, bool) for _, value in values):
            continue
        starts = {value - layer for layer, value in values}
        numbered = len(starts) == 1 and (len(values) > 1 or starts == {0})
        if numbered or trait[1] in NUMBERS:
            numberings.add(trait)
    return numberings


def _counts(kinds: tuple[Kind, ...]) -> set[Trait]:
    """Attributes that state, in every layer that has them, how many layers there are."""
    traits = {trait for kind in kinds for trait, value in kind.items() if type(value) is int}
    return {t for t in traits if all(kind[t] == len(kinds) for kind in kinds if t in kind)}
