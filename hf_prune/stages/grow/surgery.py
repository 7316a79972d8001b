"""The grown checkpoint, written from the files of the model that grows, with old layers byte for byte."""

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
from hf_prune.stages.cut.checkpoint import checkpoint_record, layer_parts
from hf_prune.stages.grow.positions import grown_from, new_layers, number_after
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
    """Write a model with a new layer after each layer of `after` into the empty folder `target`.

    A new layer's weights are the mean of its neighbours' (Llama SLayer, 2410.02330), except for those that
    silence it: `silenced` has their values for each layer of `after`, by the names of its tensors on disk.
    A tensor that the next layer does not have in the same shape is copied from the layer before.

    Raises:
        UnsupportedModel: the configuration cannot describe the grown model.
    """
    source, layers = skeleton.index.folder, grown_from(skeleton.num_layers, after)
    config = cut_config((source / "config.json").read_text(encoding="utf-8"), layers, skeleton)
    (target / "config.json").write_text(config, encoding="utf-8")
    copy_companions(source, target, code=skeleton.trust_remote_code)
    tensors: dict[str, StoredTensor] = {}
    makers: dict[str, Callable[[], Tensor]] = {}
    new_numbers = dict(zip(sorted(after), new_layers(after), strict=True))
    for name, tensor in skeleton.index.tensors.items():
        number = skeleton.layer_numbers.get(name)
        if number is None:
            tensors[name] = tensor
            continue
        moved = number.renumbered(name, number_after(number.layer, after))
        tensors[moved] = replace(tensor, name=moved)
        if number.layer in new_numbers:
            new = number.renumbered(name, new_numbers[number.layer])
            tensors[new] = replace(tensor, name=new)
            makers[new] = partial(_new_value, skeleton, name, silenced[number.layer].get(name))
    weights = write_weights(
        replace(skeleton.index, tensors=tensors),
        target,
        names={name: name for name in tensors},
        replacements=TensorsOnDemand(makers),
        parts=layer_parts(skeleton, target, layers),
        progress=progress,
    )
    return checkpoint_record(target, GROWN, weights, trust_remote_code=skeleton.trust_remote_code)


def _new_value(skeleton: Skeleton, name: str, constant: float | None) -> Tensor:
    """A tensor of the new layer after the layer that `name` belongs to, in its stored dtype."""
    tensors, number = skeleton.index.tensors, skeleton.layer_numbers[name]
    tensor, neighbour = tensors[name], tensors.get(number.renumbered(name, number.layer + 1))
    if constant is not None:
        return torch.full(tensor.shape, constant, dtype=TORCH_DTYPES[tensor.dtype])
    value = tensor.read()
    alike = neighbour is not None and (neighbour.shape, neighbour.dtype) == (tensor.shape, tensor.dtype)
    if neighbour is None or not alike or tensor.dtype not in FLOATING:
        return value
    return ((value.float() + neighbour.read().float()) / 2).to(value.dtype)
