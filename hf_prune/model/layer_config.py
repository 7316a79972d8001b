"""`config.json` of the shorter model: what it says of single layers, and nothing else, is changed.

Configurations speak of layers in a few ways: a list with one entry each, a set of layer numbers, a pattern
that repeats, a count of the first or the last of them, a period. Which field speaks in which way is found
by structure: the shorter model is built without weights, and every layer that stays must still be of its
own kind (`layer_kinds`). A field is only counted anew where that makes layers right that were wrong.
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from hf_prune.errors import UnsupportedModel
from hf_prune.model.layer_kinds import Change, Kind, changes, kinds_of
from hf_prune.model.skeleton import Skeleton, decoder_config, empty_model, text_section

Content = dict[str, Any]
Edit = dict[str, Any]  # new values of fields in the part that describes the decoder

NUMBERS_LAYERS = re.compile(r"layer|idx|index|indices")  # in the name of a set of layer numbers
# Of models that can serve as backbones: a name for each layer's output, and the outputs that a backbone hands
# out. Where they are not stated, configuration classes name as many as there are layers.
OF_BACKBONES = ("stage_names", "out_features", "out_indices")
# Layers beyond the last that predict further tokens: they follow the last layer of the whole model.
BEYOND_THE_LAST = ("num_nextn_predict_layers", "num_mtp_layers")


def cut_config(text: str, kept: tuple[int, ...], skeleton: Skeleton) -> str:
    """`config.json` of the model with the layers `kept`, as it was written but for its layer fields.

    Args:
        text: the content of the original file.
        kept: the layers that stay, in order.
        skeleton: of the original.

    Raises:
        UnsupportedModel: the configuration class has no words for the shorter model.
    """
    content: Content = json.loads(text)
    if hasattr(skeleton.whole_config, "stage_names"):
        content = {name: value for name, value in content.items() if name not in OF_BACKBONES}
    shorter = _shorter(content, kept, skeleton)
    if "quantization_config" in shorter:
        shorter["quantization_config"] = _renumbered(shorter["quantization_config"], kept, skeleton)
    return written_like(text, shorter)


def written_like(text: str, content: Content) -> str:
    """A configuration as JSON, indented as `text` is."""
    return json.dumps(content, indent=_indent(text), ensure_ascii=False) + "\n"


def reason_against(removed: tuple[int, ...], skeleton: Skeleton) -> str | None:
    """Why a model cannot lose these layers; None where it can.

    Args:
        removed: their numbers.
        skeleton: of the original, on this disk.
    """
    everywhere = tuple(range(skeleton.num_layers))
    if _all_alike(skeleton):
        return None
    kept = tuple(layer for layer in everywhere if layer not in removed)
    text = (skeleton.index.folder / "config.json").read_text(encoding="utf-8")
    try:
        cut_config(text, kept, skeleton)
    except UnsupportedModel as error:
        return str(error)
    return None


def _all_alike(skeleton: Skeleton) -> bool:
    """Whether every layer is like every other, and whatever the configuration says of each."""
    kinds = kinds_of(skeleton.layers)
    everywhere = tuple(range(skeleton.num_layers))
    lists = _per_layer(skeleton, everywhere).values()
    one_word = all(isinstance(said, list) and len({repr(item) for item in said}) == 1 for said in lists)
    return one_word and not changes(kinds[:1] * len(kinds), kinds, everywhere)


def _shorter(content: Content, kept: tuple[int, ...], skeleton: Skeleton) -> Content:
    before = kinds_of(skeleton.layers)
    attempt = _counted(content, kept, skeleton)
    wrong = changes(before, kinds_of(_layers(attempt, skeleton)), kept)
    while wrong:
        better: tuple[Content, list[Change]] | None = None
        for edit in _recounts(skeleton, kept, wrong):
            edited = _edited(attempt, skeleton, edit)
            layers = _try_layers(edited, skeleton)
            if layers is None or len(layers) != len(kept):
                continue
            left = changes(before, kinds_of(layers), kept)
            if len(left) < len(better[1] if better else wrong):
                better = edited, left
        if better is None:
            raise UnsupportedModel(
                f"{skeleton.config.model_type} cannot lose these layers: {wrong[0]}{_why(before, wrong[0])}"
            )
        attempt, wrong = better
    _check_lists(attempt, kept, skeleton)
    return attempt


def _why(before: tuple[Kind, ...], change: Change) -> str:
    values = [repr(kind[change.trait]) for kind in before if change.trait in kind]
    if len(values) > 2 and len(set(values)) == len(values):
        return ", because it follows from the layer's number and nothing in config.json can set it"
    return (
        ", because its configuration has no words for the pattern that is left; try other layers, or as "
        "many as its pattern is long"
    )


def _counted(content: Content, kept: tuple[int, ...], skeleton: Skeleton) -> Content:
    """The content with as many layers, its lists cut along, and derived lists written out."""
    said = ""
    for first, counts in itertools.product((0, 1), _count_fields(skeleton)):
        edit = _lists_along(content, kept, skeleton, first) | dict.fromkeys(counts, len(kept))
        attempt = _edited(content, skeleton, edit)
        attempt = _with_derived_lists(attempt, kept, skeleton)
        try:
            layers = _layers(attempt, skeleton)
        except Exception as error:  # the class's own validators raise whatever they like
            said = said or f": {' '.join(str(error).split())[:200]}"
            continue
        if len(layers) == len(kept):
            return attempt
    raise UnsupportedModel(
        f"{skeleton.config.model_type} cannot be described with the {len(kept)} layers "
        f"{', '.join(map(str, kept))} of {skeleton.num_layers}{said}"
    )


def _count_fields(skeleton: Skeleton) -> list[tuple[str, ...]]:
    """The fields that may say how many layers there are, the likeliest first, and all of them together."""
    config, total = skeleton.config, skeleton.num_layers
    usual = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    values = config.to_dict()
    alike = [
        name
        for name, value in values.items()
        if value == total and type(value) is int and re.search("layer|block", name) and name != usual
    ]
    singly = [(usual,)] if values.get(usual) == total else []
    singly += [(name,) for name in alike]
    return [*singly, tuple(name for (name,) in singly)]


def _lists_along(content: Content, kept: tuple[int, ...], skeleton: Skeleton, first: int) -> Edit:
    """What the fields that speak of single layers say of those that stay; sets count from `first`."""
    edit: Edit = {}
    for field, value in text_section(content, skeleton.section).items():
        along = _along(field, value, kept, skeleton.num_layers, first)
        if along is not None:
            edit[field] = along
        elif field in BEYOND_THE_LAST and value:
            edit[field] = 0
    return edit


def _along(field: str, value: Any, kept: tuple[int, ...], total: int, first: int = 0) -> Any:
    """The field's value for the layers `kept`; None where it does not speak of single layers."""
    if "token" in field:
        return None
    if isinstance(value, str):
        of_each = len(value) == total and "pattern" in field
        return "".join(value[layer] for layer in kept) if of_each else None
    if isinstance(value, dict):
        numbered = bool(value) and all(re.fullmatch(r"\d+", str(key)) for key in value)
        if not numbered or "layer" not in field or max(map(int, value)) >= total:
            return None
        return {str(new): value[str(old)] for new, old in enumerate(kept) if str(old) in value}
    if not isinstance(value, list):
        return None
    if NUMBERS_LAYERS.search(field) and value == list(range(total)):
        return list(range(len(kept)))  # the set of all
    if len(value) == total:
        return [value[layer] for layer in kept]
    if _are_runs(value, total):
        each = [item for pattern, times in value for item in pattern * times]
        return [[[each[layer] for layer in kept], 1]]
    if NUMBERS_LAYERS.search(field) and _are_numbers(value, total + first):
        return [new + first for new, old in enumerate(kept) if old + first in value]
    return None


def _are_runs(value: list[Any], total: int) -> bool:
    """Whether a list reads [[pattern, times], …] and describes every layer (GPT-Neo)."""
    pairs = all(
        isinstance(run, list) and len(run) == 2 and isinstance(run[0], list) and isinstance(run[1], int)
        for run in value
    )
    return pairs and bool(value) and sum(len(pattern) * times for pattern, times in value) == total


def _are_numbers(value: Sequence[Any], total: int) -> bool:
    whole = all(type(item) is int and 0 <= item < total for item in value)
    return bool(value) and whole and len(set(value)) == len(value)


def _with_derived_lists(content: Content, kept: tuple[int, ...], skeleton: Skeleton) -> Content:
    """What the class derives for each layer is written out where it would derive something else."""
    for field, wanted in _per_layer(skeleton, kept).items():
        if _read(_try_config(content, skeleton), field) != wanted:
            edited = _edited(content, skeleton, {field: wanted})
            content = content if _try_config(edited, skeleton) is None else edited
    return content


def _check_lists(content: Content, kept: tuple[int, ...], skeleton: Skeleton) -> None:
    """A list that no module shows, such as one that the masks follow, must have been carried over too."""
    after = _try_config(content, skeleton)
    kinds, left = (_read(config, "layer_types") or () for config in (skeleton.config, after))
    if any(map(_keeps_positions, kinds)) and not any(map(_keeps_positions, left)):
        raise UnsupportedModel(
            f"a cut has to leave one of {skeleton.config.model_type}'s attention layers "
            f"({', '.join(str(layer) for layer, kind in enumerate(kinds) if _keeps_positions(kind))}): "
            f"transformers cannot decode with a cache without any"
        )
    for field, wanted in _per_layer(skeleton, kept).items():
        one_each = len(_read(skeleton.config, field)) == skeleton.num_layers
        if one_each and _read(after, field) != wanted:
            raise UnsupportedModel(
                f"the {field} of {skeleton.config.model_type} cannot be carried over to {len(kept)} "
                f"layers: its configuration class derives it anew"
            )


def _keeps_positions(kind: str) -> bool:
    """Whether a kind of layer caches keys and values, by which a cache knows how far it is."""
    return ("attention" in kind and "linear" not in kind) or kind == "hybrid"


def _per_layer(skeleton: Skeleton, kept: tuple[int, ...]) -> dict[str, Any]:
    """What the fields that speak of single layers, derived ones included, must say of those that stay."""
    config = skeleton.config
    fields = {*config.to_dict(), "layer_types", "layers_block_type"}
    wanted = {name: _along(name, _read(config, name), kept, skeleton.num_layers) for name in fields}
    return {name: value for name, value in sorted(wanted.items()) if value is not None}


def _read(config: PreTrainedConfig | None, field: str) -> Any:
    value = _accepted(lambda: getattr(config, field, None))
    return list(value) if isinstance(value, tuple) else value


def _recounts(skeleton: Skeleton, kept: tuple[int, ...], wrong: Sequence[Change]) -> Iterator[Edit]:
    """Other values that fields could need in the shorter model, each to be tried."""
    total, values = skeleton.num_layers, skeleton.config.to_dict()
    layers_wrong = {change.layer for change in wrong}
    numbered: list[str] = []
    for field, value in values.items():
        if type(value) is int and 0 < value <= total:
            yield {field: sum(layer < value for layer in kept)}  # the first so many
            yield {field: sum(layer >= total - value for layer in kept)}  # the last so many
        elif isinstance(value, float) and value:
            yield {field: value * math.sqrt(len(kept) / total)}  # divided by the square root of the depth
        elif isinstance(value, list) and "token" not in field:
            if NUMBERS_LAYERS.search(field):
                numbered.append(field)
                yield {field: [new + 1 for new, old in enumerate(kept) if old + 1 in value]}  # from one
            if 1 < len(value) < total and not _are_numbers(value, total):
                yield {field: [value[layer % len(value)] for layer in kept]}  # a pattern that repeats
    for field in numbered:
        for period in [name for name, value in values.items() if type(value) is int and 1 < value <= total]:
            for chosen in _groups(skeleton, layers_wrong, kept):
                yield {field: chosen, period: 1}  # a period, written out as a set


def _groups(skeleton: Skeleton, wrong: set[int], kept: tuple[int, ...]) -> list[list[int]]:
    """The new numbers of the layers that are of one kind, for each kind that a wrong layer is of."""
    kinds = kinds_of(skeleton.layers)
    classes = [{trait: value for trait, value in kind.items() if trait[1] == "class"} for kind in kinds]
    groups = []
    for layer in sorted(wrong):
        group = [new for new, old in enumerate(kept) if classes[old] == classes[layer]]
        if group not in groups:
            groups.append(group)
        others = [new for new in range(len(kept)) if new not in group]
        if others not in groups:
            groups.append(others)
    return groups


def _renumbered(value: Any, kept: tuple[int, ...], skeleton: Skeleton) -> Any:
    """What names single modules, such as those that stay in full precision, follows their layers."""
    if isinstance(value, dict):
        return {key: _renumbered(item, kept, skeleton) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    prefixes = {name[: place.start] for name, place in skeleton.places.items()} | {f"{skeleton.layer_path}."}
    layer_of = re.compile(rf"^({'|'.join(map(re.escape, sorted(prefixes)))})(\d+)(?=\.|$)")
    position = {layer: new for new, layer in enumerate(kept)}
    renumbered = []
    for item in value:
        match = layer_of.match(item) if isinstance(item, str) else None
        if match is None:
            renumbered.append(item)
        elif int(match[2]) in position:
            renumbered.append(f"{match[1]}{position[int(match[2])]}{item[match.end() :]}")
    return renumbered


def _edited(content: Content, skeleton: Skeleton, edit: Mapping[str, Any]) -> Content:
    edited = deepcopy(content)
    text_section(edited, skeleton.section).update(edit)
    return edited


def _try_config(content: Content, skeleton: Skeleton) -> PreTrainedConfig | None:
    """The decoder's part of a configuration, if its class accepts it."""
    whole = _accepted(lambda: _config(content, skeleton))
    return None if whole is None else decoder_config(whole, skeleton.section)


def _config(content: Content, skeleton: Skeleton) -> PreTrainedConfig:
    config_class = type(skeleton.whole_config)
    # JSON has no infinity; transformers writes {"__float__": "Infinity"}, and reads it in files alone.
    return config_class.from_dict(config_class._decode_special_floats(deepcopy(content)))


def _try_layers(content: Content, skeleton: Skeleton) -> nn.ModuleList | None:
    """The decoder layers of the model that a configuration describes, if there is one."""
    return _accepted(lambda: _layers(content, skeleton))


def _layers(content: Content, skeleton: Skeleton) -> nn.ModuleList:
    whole = _config(content, skeleton)
    layers = empty_model(type(skeleton.model), whole).get_submodule(skeleton.layer_path)
    assert isinstance(layers, nn.ModuleList)
    return layers


def _accepted(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception:  # the class's own validators raise whatever they like; the caller decides
        return None


def _indent(text: str) -> int | None:
    match = re.search(r"^\{\s*\n( +)", text)
    return len(match[1]) if match else None
