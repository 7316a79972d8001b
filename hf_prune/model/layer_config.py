"""`config.json` of the shorter model: only what it says of single layers changes.

No field is known by its name. `layer_fields` has the ways in which configurations describe single layers.
Which of them a field uses is found by trial: the shorter model is built without weights, and every layer
that stays must still be of its own kind (`layer_kinds`). While one is not, guesses at further fields are
tried, and the one that leaves the fewest layers wrong is taken.
"""

import itertools
import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from hf_prune.errors import UnsupportedModel
from hf_prune.model.layer_fields import Edit, KeptLayers, guesses, value_for
from hf_prune.model.layer_kinds import Change, Kind, changes, kinds_of
from hf_prune.model.skeleton import Skeleton, decoder_config, decoder_fields, empty_model

Content = dict[str, Any]
Kept = tuple[int, ...]

# Of models that can serve as backbones: a name for each layer's output, and the outputs that a backbone hands
# out. Where they are not stated, configuration classes name as many as there are layers.
OF_BACKBONES = ("stage_names", "out_features", "out_indices")
# Layers beyond the last that predict further tokens: they follow the last layer of the whole model.
BEYOND_THE_LAST = ("num_nextn_predict_layers", "num_mtp_layers")


def cut_config(text: str, kept: Kept, skeleton: Skeleton) -> str:
    """`config.json` of the model with the layers `kept`, in order; only layer fields differ from `text`.

    Raises:
        UnsupportedModel: the configuration class cannot describe the shorter model.
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
    indent = re.search(r"^\{\s*\n( +)", text)
    return json.dumps(content, indent=len(indent[1]) if indent else None, ensure_ascii=False) + "\n"


def reason_against(removed: tuple[int, ...], skeleton: Skeleton) -> str | None:
    """Why these layers cannot be removed from a model on this disk; None: they can."""
    if _all_alike(skeleton):
        return None
    kept = tuple(layer for layer in range(skeleton.num_layers) if layer not in removed)
    text = (skeleton.index.folder / "config.json").read_text(encoding="utf-8")
    try:
        cut_config(text, kept, skeleton)
    except UnsupportedModel as error:
        return str(error)
    return None


def _all_alike(skeleton: Skeleton) -> bool:
    """Whether every layer is like every other, and so is what the configuration says of each."""
    kinds = kinds_of(skeleton.layers)
    everywhere = tuple(range(skeleton.num_layers))
    values = _required_values(skeleton, everywhere).values()
    uniform = all(isinstance(value, list) and len({repr(item) for item in value}) == 1 for value in values)
    return uniform and not changes(kinds[:1] * len(kinds), kinds, everywhere)


def _shorter(content: Content, kept: Kept, skeleton: Skeleton) -> Content:
    kinds = kinds_of(skeleton.layers)
    best = _with_new_depth(content, kept, skeleton)
    wrong = changes(kinds, kinds_of(_build_layers(best, skeleton)), kept)
    while wrong:
        repair = _best_repair(best, wrong, kinds, kept, skeleton)
        if repair is None:
            raise UnsupportedModel(
                f"{skeleton.config.model_type} cannot lose these layers: {wrong[0]}, "
                f"{_why_it_changes(kinds, wrong[0])}"
            )
        best, wrong = repair
    _check_lists(best, kept, skeleton)
    return best


def _best_repair(
    content: Content, wrong: list[Change], kinds: tuple[Kind, ...], kept: Kept, skeleton: Skeleton
) -> tuple[Content, list[Change]] | None:
    """The guess that leaves the fewest layers wrong, with those; None: no guess leaves fewer than now."""
    best = (content, wrong)
    sets = _sets_of_one_kind(kinds, {change.layer for change in wrong}, kept)
    for edit in guesses(skeleton.config.to_dict(), KeptLayers(kept, skeleton.num_layers), sets):
        edited = _edited(content, skeleton, edit)
        layers = _unless_refused(_build_layers, edited, skeleton)
        if layers is not None and len(layers) == len(kept):
            still_wrong = changes(kinds, kinds_of(layers), kept)
            best = min(best, (edited, still_wrong), key=lambda repair: len(repair[1]))
    return best if best[1] is not wrong else None


def _sets_of_one_kind(kinds: tuple[Kind, ...], wrong: set[int], kept: Kept) -> list[list[int]]:
    """For each layer that is wrong, the new numbers of those of its class, and of those that are not."""
    classes = [{trait: value for trait, value in kind.items() if trait[1] == "class"} for kind in kinds]
    sets: list[list[int]] = []
    for layer in sorted(wrong):
        same = [new for new, old in enumerate(kept) if classes[old] == classes[layer]]
        others = [new for new in range(len(kept)) if new not in same]
        sets += [numbers for numbers in (same, others) if numbers not in sets]
    return sets


def _why_it_changes(kinds: tuple[Kind, ...], change: Change) -> str:
    values = [repr(kind[change.trait]) for kind in kinds if change.trait in kind]
    if len(values) > 2 and len(set(values)) == len(values):
        return "because it follows from the layer's number and nothing in config.json can set it"
    return (
        "because its configuration cannot describe the remaining pattern of layers; remove other layers, or "
        "as many as the pattern is long"
    )


def _with_new_depth(content: Content, kept: Kept, skeleton: Skeleton) -> Content:
    """The content with the new number of layers, and with every list for the layers that stay."""
    reason = ""
    for first_number, counts in itertools.product((0, 1), _count_fields(skeleton)):
        edit = _recognised_fields(content, kept, skeleton, first_number) | dict.fromkeys(counts, len(kept))
        attempt = _with_derived_lists(_edited(content, skeleton, edit), kept, skeleton)
        try:
            layers = _build_layers(attempt, skeleton)
        except Exception as error:  # the class's own validators raise whatever they like
            reason = reason or f": {' '.join(str(error).split())[:200]}"
            continue
        if len(layers) == len(kept):
            return attempt
    raise UnsupportedModel(
        f"{skeleton.config.model_type} cannot be described with the {len(kept)} layers "
        f"{', '.join(map(str, kept))} of {skeleton.num_layers}{reason}"
    )


def _count_fields(skeleton: Skeleton) -> list[tuple[str, ...]]:
    """The fields that may say how many layers there are, the likeliest first, and all of them together."""
    usual = skeleton.config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    fields = skeleton.config.to_dict().items()
    equal = [name for name, value in fields if type(value) is int and value == skeleton.num_layers]
    named = [name for name in equal if name == usual or re.search("layer|block", name)]
    singly = sorted(named, key=lambda name: name != usual)
    return [*((name,) for name in singly), tuple(singly)]


def _recognised_fields(content: Content, kept: Kept, skeleton: Skeleton, first_number: int) -> Edit:
    """The fields that describe single layers, for those that stay."""
    layers = KeptLayers(kept, skeleton.num_layers, first_number)
    edit: Edit = {}
    for name, old in decoder_fields(content, skeleton.section).items():
        value = value_for(name, old, layers)
        if value is not None:
            edit[name] = value
        elif name in BEYOND_THE_LAST and old:
            edit[name] = 0
    return edit


def _with_derived_lists(content: Content, kept: Kept, skeleton: Skeleton) -> Content:
    """What the class derives for each layer is written out where it would derive something else."""
    for name, required in _required_values(skeleton, kept).items():
        if _read(_accepted_config(content, skeleton), name) != required:
            edited = _edited(content, skeleton, {name: required})
            content = content if _accepted_config(edited, skeleton) is None else edited
    return content


def _check_lists(content: Content, kept: Kept, skeleton: Skeleton) -> None:
    """Check the lists that show in no module, such as one that the masks follow."""
    shorter = _accepted_config(content, skeleton)
    before, after = (_read(config, "layer_types") or () for config in (skeleton.config, shorter))
    if any(map(_caches_positions, before)) and not any(map(_caches_positions, after)):
        raise UnsupportedModel(
            f"a cut has to leave one of {skeleton.config.model_type}'s attention layers "
            f"({', '.join(str(layer) for layer, kind in enumerate(before) if _caches_positions(kind))}): "
            f"transformers cannot decode with a cache without any"
        )
    for name, required in _required_values(skeleton, kept).items():
        one_each = len(_read(skeleton.config, name)) == skeleton.num_layers
        if one_each and _read(shorter, name) != required:
            raise UnsupportedModel(
                f"the {name} of {skeleton.config.model_type} cannot be carried over to {len(kept)} "
                f"layers: its configuration class derives it anew"
            )


def _caches_positions(kind: str) -> bool:
    """Whether a kind of layer caches keys and values, by which a cache knows how far it is."""
    return ("attention" in kind and "linear" not in kind) or kind == "hybrid"


def _required_values(skeleton: Skeleton, kept: Kept) -> dict[str, Any]:
    """What the fields that describe single layers, derived ones included, must say of those that stay."""
    config, layers = skeleton.config, KeptLayers(kept, skeleton.num_layers)
    names = {*config.to_dict(), "layer_types", "layers_block_type"}
    values = {name: value_for(name, _read(config, name), layers) for name in sorted(names)}
    return {name: value for name, value in values.items() if value is not None}


def _read(config: PreTrainedConfig | None, name: str) -> Any:
    value = _unless_refused(getattr, config, name, None)
    return list(value) if isinstance(value, tuple) else value


def _renumbered(value: Any, kept: Kept, skeleton: Skeleton) -> Any:
    """Quantisation settings that name single modules by their layers' new numbers."""
    if isinstance(value, dict):
        return {key: _renumbered(item, kept, skeleton) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    prefixes = {name[: number.start] for name, number in skeleton.layer_numbers.items()}
    prefixes.add(f"{skeleton.layer_path}.")
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
    decoder_fields(edited, skeleton.section).update(edit)
    return edited


def _accepted_config(content: Content, skeleton: Skeleton) -> PreTrainedConfig | None:
    """The decoder's part of a configuration; None if its class refuses it."""
    whole = _unless_refused(_build_config, content, skeleton)
    return None if whole is None else decoder_config(whole, skeleton.section)


def _build_config(content: Content, skeleton: Skeleton) -> PreTrainedConfig:
    config_class = type(skeleton.whole_config)
    # JSON has no infinity; transformers writes {"__float__": "Infinity"}, and reads it in files alone.
    return config_class.from_dict(config_class._decode_special_floats(deepcopy(content)))


def _build_layers(content: Content, skeleton: Skeleton) -> nn.ModuleList:
    """The decoder layers of the model that a configuration describes."""
    whole = _build_config(content, skeleton)
    layers = empty_model(type(skeleton.model), whole).get_submodule(skeleton.layer_path)
    assert isinstance(layers, nn.ModuleList)
    return layers


def _unless_refused(build: Callable[..., Any], *arguments: Any) -> Any:
    """What is built; None if the configuration class refuses, whose validators raise whatever they like."""
    try:
        return build(*arguments)
    except Exception:
        return None
