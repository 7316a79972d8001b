"""Parameters of a model whose weights stay on disk, read into the model for a while."""

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
    """Read parameters and saved buffers into a model; afterwards it is without weights again.

    Names that the files do not hold are left as they are. Parameters that transformers keeps in another
    dtype than `dtype` get that one. `replacements` are by name on disk.
    """
    sources = {name: source for name in names if (source := skeleton.source_parameter(name)) is not None}
    model = skeleton.model
    slots = {name: _slot(model, name) for name in sources}
    restore = {name: module_slots[attribute] for name, (module_slots, attribute) in slots.items()}
    loaded: dict[str, Tensor] = {}  # a parameter that others are tied to is read once

    def read(stored: str) -> Tensor:
        replacement = replacements.get(stored)
        tensor = skeleton.index.tensors[stored].read() if replacement is None else replacement
        return tensor.to(device)

    try:
        for name, source in sources.items():
            if source not in loaded:
                converted = skeleton.conversion_of[source].convert(model, read)
                for n, value in converted.items():
                    floating = value.is_floating_point()
                    loaded[n] = value.to(dtype_of(skeleton, n, dtype)) if floating else value
            _assign(*slots[name], loaded[source])
        yield
    finally:
        for name, value in restore.items():
            _assign(*slots[name], value)


def dtype_of(skeleton: Skeleton, name: str, dtype: torch.dtype) -> torch.dtype:
    """What transformers loads a parameter as: some stay in float32 whatever the rest is in."""
    model, own = skeleton.model, skeleton.loading_rules.model_tensors[name].dtype
    for pattern, kept in model._get_dtype_plan(dtype).items():
        if re.search(rf"(^|\.){re.escape(pattern)}(\.|$)", name):
            return kept
    return dtype if own == (model.config.dtype or torch.get_default_dtype()) else own


def _slot(model: nn.Module, name: str) -> tuple[dict[str, Any], str]:
    """The dictionary in which the module tree keeps a parameter or buffer, and its key there."""
    path, _, attribute = name.rpartition(".")
    owner = model.get_submodule(path)
    return (owner._buffers if attribute in owner._buffers else owner._parameters), attribute


def _assign(slots: dict[str, Any], attribute: str, tensor: Tensor) -> None:
    if isinstance(slots[attribute], nn.Parameter) and not isinstance(tensor, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=False)
    slots[attribute] = tensor
