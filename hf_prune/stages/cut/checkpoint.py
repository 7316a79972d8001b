"""The shorter checkpoint, written from the original's files; the model is never built.

Kept tensors are copied byte for byte under their new numbers, `config.json` is changed in its layer
fields alone, and everything else (tokenizer, chat template, generation settings, licence) is copied.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hf_prune.errors import UnsupportedModel
from hf_prune.machine.disk import check_room
from hf_prune.machine.progress import Progress
from hf_prune.model.anatomy import count_parameters
from hf_prune.model.layer_config import cut_config
from hf_prune.model.skeleton import Skeleton, build_skeleton, empty_model, read_config
from hf_prune.model.weights import TensorPart, read_index, write_weights
from hf_prune.records import Checkpoint, WeightFile
from hf_prune.stages.source.companions import copy_companions


def write_checkpoint(
    source: Path,
    target: Path,
    *,
    kept: tuple[int, ...],
    variant: str,
    replacements: Mapping[str, Tensor],
    progress: Progress,
    trust_remote_code: bool = False,
) -> Checkpoint:
    """Write the layers `kept` of the model in `source` as a model of its own into `target`.

    What can fail early does: the configuration is written and the model it describes is checked against
    the names of the kept tensors before any weight is copied.

    Args:
        source: the original, in safetensors form.
        target: an empty folder.
        kept: layers that stay, in order.
        variant: "cut" or "bridged".
        replacements: new values by the tensor's name in `source`.
        progress: shows the tensors going by.
        trust_remote_code: whether code that the model brings may be run, and is copied along.

    Raises:
        UnsupportedModel: the configuration cannot describe the shorter model.
    """
    original = build_skeleton(source, trust_remote_code=trust_remote_code)
    config = cut_config((source / "config.json").read_text(encoding="utf-8"), kept, original)
    (target / "config.json").write_text(config, encoding="utf-8")
    copy_companions(source, target, code=trust_remote_code)
    weights = write_weights(
        original.index,
        target,
        names=new_names(original, kept),
        replacements=replacements,
        parts=layer_parts(original, target, kept),
        progress=progress,
    )
    return checkpoint_written(target, variant, weights, trust_remote_code=trust_remote_code)


def write_depth(
    folder: Path, target: Path, depth: int, progress: Progress, *, trust_remote_code: bool
) -> Checkpoint:
    """The first layers of the model in `folder`, with its norm and head, written into an empty folder."""
    check_room(target.parent, read_index(folder).size_bytes, f"writing {depth} layers")
    return write_checkpoint(
        folder,
        target,
        kept=tuple(range(depth)),
        variant=depth_name(depth),
        replacements={},
        progress=progress,
        trust_remote_code=trust_remote_code,
    )


def depth_name(depth: int) -> str:
    """What the model of the first so many layers is called: as a variant, a folder and a branch."""
    return f"depth-{depth}"


def checkpoint_written(
    target: Path, variant: str, weights: tuple[WeightFile, ...], *, trust_remote_code: bool
) -> Checkpoint:
    """The record of a checkpoint, every parameter of which has its tensor, of the right shape.

    Args:
        target: where it was written; it will be called by its variant.
        variant: "cut", "bridged" or "healed".
        weights: its files.
        trust_remote_code: whether code that the model brings may be run.
    """
    written = build_skeleton(target, trust_remote_code=trust_remote_code)
    return Checkpoint(
        variant=variant,
        folder=variant,
        parameters=count_parameters(written),
        size_bytes=written.index.size_bytes,
        weights=weights,
    )


def new_names(original: Skeleton, kept: tuple[int, ...]) -> dict[str, str]:
    """By the name of each tensor that stays, its name in the shorter checkpoint."""
    return names_at(original, {layer: number for number, layer in enumerate(kept)})


def names_at(original: Skeleton, position: Mapping[int, int]) -> dict[str, str]:
    """By the name of each tensor that stays, its name where its layer has another number.

    Args:
        original: the model.
        position: by layer, its new number; the others go.
    """
    heirs = _heirs(original, position)
    names: dict[str, str] = {}
    for name in original.index.tensors:
        place = original.layer_numbers.get(name)
        if place is None:
            names[name] = name
        elif (layer := heirs.get(name, place.layer)) in position:
            names[name] = place.renumbered(name, position[layer])
    return names


def _heirs(original: Skeleton, position: Mapping[int, int]) -> dict[str, int]:
    """Tensors that layers share, stored under a layer that goes: by name, the first to keep them."""
    heirs: dict[str, int] = {}
    for conversion in original.conversions:
        places = [original.layer_numbers.get(name) for name in conversion.stored]
        if places[0] is None or places[0].layer in position:
            continue
        for partner in original.partners.get(conversion.target, ()):
            if (layer := original.layer_of(partner)) is not None and layer in position:
                heirs.update(dict.fromkeys(conversion.stored, layer))
                break
    return heirs


def layer_parts(original: Skeleton, target: Path, kept: tuple[int, ...]) -> dict[str, TensorPart]:
    """Tensors outside the layers that hold a part for each layer (Gemma's per-layer embeddings).

    They are those that the shorter model wants narrower, by as much as it has fewer layers.

    Args:
        original: the skeleton of the original.
        target: a folder with the configuration of the shorter model.
        kept: the layers that stay, in order.

    Raises:
        UnsupportedModel: one of them changes in another way.
    """
    config = read_config(target, trust_remote_code=original.trust_remote_code)
    wanted = empty_model(type(original.model), config).state_dict()
    parts: dict[str, TensorPart] = {}
    for name, tensor in original.loading_rules.model_tensors.items():
        if original.layer_of(name) is not None or name not in original.conversion_of:
            continue
        before, after = tuple(tensor.shape), tuple(wanted[name].shape) if name in wanted else None
        if before == after:
            continue
        stored, axis = original.stored_name(name), _shrinking_axis(before, after, len(kept), original)
        if stored is None or axis is None:
            raise UnsupportedModel(
                f"{name} is {list(before)} in the original and {list(after) if after else 'absent'} in a "
                f"model of {len(kept)} layers; which part belongs to which layer cannot be told"
            )
        width = before[axis] // original.num_layers
        places = tuple(layer * width + place for layer in kept for place in range(width))
        parts[stored] = original.index.tensors[stored].part(axis, places)
    return parts


def _shrinking_axis(
    before: tuple[int, ...], after: tuple[int, ...] | None, count: int, original: Skeleton
) -> int | None:
    """The one axis along which a shape shrinks with the number of layers."""
    if after is None or len(before) != len(after):
        return None
    axes = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    total = original.num_layers
    fits = len(axes) == 1 and before[axes[0]] * count == after[axes[0]] * total
    return axes[0] if fits and before[axes[0]] % total == 0 else None
