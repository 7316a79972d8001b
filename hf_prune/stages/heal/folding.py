"""Trained weights folded back into a plain checkpoint: the same tensors, the same architecture.

Adapters are added to the weights as they are stored: a model that was trained in 4 bits is published in the
precision of its original.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hf_prune.machine.progress import Progress
from hf_prune.model.layer_config import written_like
from hf_prune.model.projections import is_transposed
from hf_prune.model.skeleton import Skeleton
from hf_prune.model.weights import TORCH_DTYPES, StoredTensor, TensorsOnDemand, WeightIndex, write_weights
from hf_prune.records import Checkpoint
from hf_prune.stages.cut.checkpoint import checkpoint_record
from hf_prune.stages.heal.plan import HEALED
from hf_prune.stages.heal.student import ADAPTER
from hf_prune.stages.source.companions import copy_companions

DOWN, UP = f".lora_A.{ADAPTER}.weight", f".lora_B.{ADAPTER}.weight"


def fold(skeleton: Skeleton, trained: Mapping[str, Tensor], scale: float = 1.0) -> TensorsOnDemand:
    """The new tensors of a checkpoint, by their name on disk and in their stored precision.

    Trained parameters have their names in the model. Those of LoRA (2106.09685) turn W into W + scale B A.
    """
    makers: dict[str, Callable[[], Tensor]] = {}
    for name, value in trained.items():
        if name.endswith(DOWN):
            projection = name.removesuffix(DOWN)
            stored = skeleton.stored_name(f"{projection}.weight")
            assert stored is not None
            transposed = is_transposed(skeleton.model.get_submodule(projection))
            tensor, up = skeleton.index.tensors[stored], trained[f"{projection}{UP}"]
            makers[stored] = partial(_merged, tensor, value, up, scale=scale, transposed=transposed)
        elif not name.endswith(UP):
            stored = skeleton.stored_name(name) or name
            tensor = skeleton.index.tensors.get(stored) or _embedding_of(skeleton, stored)
            makers[stored] = partial(value.to, TORCH_DTYPES[tensor.dtype])
    return TensorsOnDemand(makers)


def _merged(stored: StoredTensor, down: Tensor, up: Tensor, *, scale: float, transposed: bool) -> Tensor:
    added = scale * (up @ down)  # (out, in)
    return (stored.read().float() + (added.T if transposed else added)).to(TORCH_DTYPES[stored.dtype])


@torch.no_grad()
def put_in_place(model: Any, skeleton: Skeleton, folded: Mapping[str, Tensor]) -> None:
    """Give a model, loaded from the checkpoint, its new tensors; a trained head is untied."""
    for name, parameter in model.named_parameters():
        if (stored := skeleton.stored_name(name)) is not None and stored in folded:
            parameter.copy_(folded[stored])
    for name in folded:
        if name not in skeleton.index.tensors:
            head = model.get_output_embeddings()
            head.weight = nn.Parameter(folded[name].to(head.weight))


def write_healed(
    skeleton: Skeleton, target: Path, folded: Mapping[str, Tensor], progress: Progress
) -> Checkpoint:
    """Write the checkpoint with its new tensors into an empty folder; a head that was trained is untied."""
    source, index = skeleton.index.folder, skeleton.index
    copy_companions(source, target, code=skeleton.trust_remote_code)
    config = (source / "config.json").read_text(encoding="utf-8")
    if heads := [name for name in folded if name not in index.tensors]:
        index, config = _with_head(skeleton, heads[0]), _untied(config, skeleton.section)
    (target / "config.json").write_text(config, encoding="utf-8")
    names = {name: name for name in index.tensors}
    weights = write_weights(index, target, names=names, replacements=folded, parts={}, progress=progress)
    return checkpoint_record(target, HEALED, weights, trust_remote_code=skeleton.trust_remote_code)


def _with_head(skeleton: Skeleton, head: str) -> WeightIndex:
    """The index with a tensor for the head after that of the embedding, which it was tied to."""
    embedding = _embedding_of(skeleton, head)
    tensors: dict[str, StoredTensor] = {}
    for name, tensor in skeleton.index.tensors.items():
        tensors[name] = tensor
        if name == embedding.name:
            tensors[head] = replace(tensor, name=head)
    return replace(skeleton.index, tensors=tensors)


def _embedding_of(skeleton: Skeleton, head: str) -> StoredTensor:
    """The tensor that a head is tied to."""
    origin = skeleton.source_parameter(head)
    stored = skeleton.stored_name(origin) if origin else None
    assert stored is not None
    return skeleton.index.tensors[stored]


def _untied(config: str, section: tuple[str, ...]) -> str:
    """The configuration with untied embeddings."""
    content = part = json.loads(config)
    part["tie_word_embeddings"] = False
    for name in section:
        part = part[name]
        part["tie_word_embeddings"] = False
    return written_like(config, content)
