"""The grown checkpoint, written from the files of the model before: old layers byte for byte."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hf_prune.machine.progress import Progress
from hf_prune.model.layer_config import cut_config
from hf_prune.model.skeleton import Skeleton
from hf_prune.model.weights import FLOATING, TORCH_DTYPES, StoredTensor, TensorsOnDemand, write_weights
from hf_prune.records import Checkpoint
from hf_prune.stages.cut.checkpoint import checkpoint_written, layer_parts
from hf_prune.stages.grow.places import grown_from, new_layers, number_after
from hf_prune.stages.source.companions import copy_companions

GROWN = "grown"  # the variant


def write_grown(
    skeleton: Skeleton,
    target: Path,
    *,
    after: tuple[int, ...],
    silenced: Mapping[int, Mapping[str, float]],
    progress: Progress,
) -> Checkpoint:
    """Write a model with a new layer after each of some layers.

    A new layer's weights are the mean of its neighbours' (Llama SLayer, 2410.02330), but for those that
    silence it; what its successor does not have in the same shape is its predecessor's.

    Args:
        skeleton: of the model that grows.
        target: an empty folder.
        after: the layers that a new one follows.
        silenced: by such a layer, the values that silence it, by the names of its tensors on disk.
        progress: shows the tensors going by.

    Raises:
        UnsupportedModel: the configuration cannot describe the grown model.
    """
    source, layers = skeleton.index.folder, grown_from(skeleton.num_layers, after)
    config = cut_config((source / "config.json").read_text(encoding="utf-8"), layers, skeleton)
    (target / "config.json").write_text(config, encoding="utf-8")
    copy_companions(source, target, code=skeleton.trust_remote_code)
    tensors: dict[str, StoredTensor] = {}
    makers: dict[str, Callable[[], Tensor]] = {}
    numbers = dict(zip(sorted(after), new_layers(after), strict=True))
    for name, tensor in skeleton.index.tensors.items():
        place = skeleton.places.get(name)
        if place is None:
            tensors[name] = tensor
            continue
        moved = place.moved(name, number_after(place.layer, after))
        tensors[moved] = replace(tensor, name=moved)
        if place.layer in numbers:
            new = place.moved(name, numbers[place.layer])
            tensors[new] = replace(tensor, name=new)
            makers[new] = partial(_new_value, skeleton, name, silenced[place.layer].get(name))
    weights = write_weights(
        replace(skeleton.index, tensors=tensors),
        target,
        names={name: name for name in tensors},
        replacements=TensorsOnDemand(makers),
        parts=layer_parts(skeleton, target, layers),
        progress=progress,
    )
    return checkpoint_written(target, GROWN, weights, trust_remote_code=skeleton.trust_remote_code)


def _new_value(skeleton: Skeleton, name: str, constant: float | None) -> Tensor:
    """A tensor of the layer after the one that `name` belongs to, as it is stored."""
    tensors, place = skeleton.index.tensors, skeleton.places[name]
    tensor, neighbour = tensors[name], tensors.get(place.moved(name, place.layer + 1))
    if constant is not None:
        return torch.full(tensor.shape, constant, dtype=TORCH_DTYPES[tensor.dtype])
    value = tensor.read()
    alike = neighbour is not None and (neighbour.shape, neighbour.dtype) == (tensor.shape, tensor.dtype)
    if neighbour is None or not alike or tensor.dtype not in FLOATING:
        return value
    return ((value.float() + neighbour.read().float()) / 2).to(value.dtype)
