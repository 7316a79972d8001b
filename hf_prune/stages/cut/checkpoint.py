"""The shorter checkpoint, written from the original's files without building the model.

Kept tensors are copied byte for byte under their new numbers, `config.json` changes only in its per-layer
fields, and everything else (tokenizer, chat template, generation settings, licence) is copied.
"""

from collections.abc import Container, Mapping
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
    """Write the layers `kept` of the model in `source` as a model of its own into the empty folder `target`.

    It fails early where it can: the configuration is written, and the model that it describes is compared
    with the names of the kept tensors, before any weight is copied.

    Args:
        kept: the layers that stay, in order.
        variant: "cut", "bridged", or the name of a depth.
        replacements: new values, by the tensor's name in `source`.
        trust_remote_code: whether the model's own code may be run. If so, it is copied too.

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
        names=renumbered_names(original, {layer: number for number, layer in enumerate(kept)}),
        replacements=replacements,
        parts=layer_parts(original, target, kept),
        progress=progress,
    )
    return checkpoint_record(target, variant, weights, trust_remote_code=trust_remote_code)


def write_depth(
    folder: Path, target: Path, depth: int, progress: Progress, *, trust_remote_code: bool
) -> Checkpoint:
    """Write the first `depth` layers of the model in `folder`, with its norm and head, into `target`."""
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
    """The name of the model of the first `depth` layers: its variant, its folder and its branch."""
    return f"depth-{depth}"


def checkpoint_record(
    target: Path, variant: str, weights: tuple[WeightFile, ...], *, trust_remote_code: bool
) -> Checkpoint:
    """The record of the checkpoint in `target`.

    Raises:
        UnsupportedModel: a parameter lacks its tensor, or the tensor has another shape.
    """
    written = build_skeleton(target, trust_remote_code=trust_remote_code)
    return Checkpoint(
        variant=variant,
        folder=variant,
        parameters=count_parameters(written),
        size_bytes=written.index.size_bytes,
        weights=weights,
    )


def renumbered_names(original: Skeleton, new_numbers: Mapping[int, int]) -> dict[str, str]:
    """The new name of each tensor that is kept, by its old name.

    `new_numbers` has the number in the new model of each layer that is kept, by its number in the original.
    """
    new_layers = _first_sharing(original, new_numbers)
    names: dict[str, str] = {}
    for name in original.index.tensors:
        number = original.layer_numbers.get(name)
        if number is None:
            names[name] = name
        elif (layer := new_layers.get(name, number.layer)) in new_numbers:
            names[name] = number.renumbered(name, new_numbers[layer])
    return names


def _first_sharing(original: Skeleton, kept: Container[int]) -> dict[str, int]:
    """For tensors that layers share and that are stored under a removed layer: the first kept layer."""
    layers: dict[str, int] = {}
    for conversion in original.conversions:
        number = original.layer_numbers.get(conversion.stored[0])
        if number is None or number.layer in kept:
            continue
        sharing = map(original.layer_of, original.partners.get(conversion.target, ()))
        first = next((layer for layer in sharing if layer is not None and layer in kept), None)
        if first is not None:
            layers.update(dict.fromkeys(conversion.stored, first))
    return layers


def layer_parts(original: Skeleton, target: Path, kept: tuple[int, ...]) -> dict[str, TensorPart]:
    """Tensors outside the layers that hold a part for each layer (Gemma's per-layer embeddings).

    The shorter model, whose configuration is in `target`, needs them narrower in proportion to its layers.

    Raises:
        UnsupportedModel: one of them changes in another way.
    """
    config = read_config(target, trust_remote_code=original.trust_remote_code)
    shorter = empty_model(type(original.model), config).state_dict()
    parts: dict[str, TensorPart] = {}
    for name, tensor in original.loading_rules.model_tensors.items():
        if original.layer_of(name) is not None or name not in original.conversion_of:
            continue
        before, after = tuple(tensor.shape), tuple(shorter[name].shape) if name in shorter else None
        if before == after:
            continue
        stored, axis = original.stored_name(name), _shrinking_axis(before, after, len(kept), original)
        if stored is None or axis is None:
            raise UnsupportedModel(
                f"{name} is {list(before)} in the original and {list(after) if after else 'absent'} in a "
                f"model of {len(kept)} layers. hf-prune cannot tell which part belongs to which layer"
            )
        width = before[axis] // original.num_layers
        positions = tuple(layer * width + offset for layer in kept for offset in range(width))
        parts[stored] = original.index.tensors[stored].part(axis, positions)
    return parts


def _shrinking_axis(
    before: tuple[int, ...], after: tuple[int, ...] | None, count: int, original: Skeleton
) -> int | None:
    """The one axis along which a shape shrinks in proportion to the number of layers."""
    if after is None or len(before) != len(after):
        return None
    axes = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    total = original.num_layers
    fits = len(axes) == 1 and before[axes[0]] * count == after[axes[0]] * total
    return axes[0] if fits and before[axes[0]] % total == 0 else None
