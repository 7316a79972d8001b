"""Parameters of a model whose weights stay on disk, read and put in place for a while."""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hf_prune.model.skeleton import Skeleton


@contextmanager
def in_place(
    skeleton: Skeleton,
    names: Iterable[str],
    replacements: Mapping[str, Tensor],
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Iterator[None]:
    """Parameters and saved buffers of a model, read and put in place; afterwards it is empty again.

    Args:
        skeleton: of the model.
        names: of what is wanted, in the model; what the files do not hold is left as it is.
        replacements: tensors, by their name on disk, used in place of the stored ones.
        device: where they go.
        dtype: what they are computed in, but for those that transformers keeps in another.
    """
    origins = {name: origin for name in names if (origin := skeleton.origin(name)) is not None}
    model = skeleton.model
    made: dict[str, Tensor] = {}  # what several names are tied to is read once
    empty = {name: _slots(model, name)[name.rpartition(".")[2]] for name in origins}

    def read(stored: str) -> Tensor:
        replacement = replacements.get(stored)
        tensor = skeleton.index.tensors[stored].read() if replacement is None else replacement
        return tensor.to(device)

    try:
        for name, origin in origins.items():
            if origin not in made:
                fresh = skeleton.made_by[origin].make(model, read)
                made |= {n: _cast(tensor, dtype_of(skeleton, n, dtype)) for n, tensor in fresh.items()}
            _assign(model, name, made[origin])
        yield
    finally:
        for name, value in empty.items():
            _assign(model, name, value)


def dtype_of(skeleton: Skeleton, name: str, dtype: torch.dtype) -> torch.dtype:
    """What transformers loads a parameter as: some stay in float32 whatever the rest is in."""
    model, own = skeleton.model, skeleton.names.wanted[name].dtype
    for pattern, kept in model._get_dtype_plan(dtype).items():
        if re.search(rf"(^|\.){re.escape(pattern)}(\.|$)", name):
            return kept
    return dtype if own == (model.config.dtype or torch.get_default_dtype()) else own


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _slots(model: nn.Module, name: str) -> Any:
    """Where the module tree keeps a parameter or buffer."""
    path, _, attribute = name.rpartition(".")
    owner = model.get_submodule(path)
    return owner._buffers if attribute in owner._buffers else owner._parameters


def _assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    slots, attribute = _slots(model, name), name.rpartition(".")[2]
    if isinstance(slots[attribute], nn.Parameter) and not isinstance(tensor, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=False)
    slots[attribute] = tensor
