"""The shorter checkpoint, written from the original's files; the model is never built.

Kept tensors are copied byte for byte under their new numbers, `config.json` is changed in its layer
fields alone, and everything else (tokenizer, chat template, generation settings, licence) is copied.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hf_prune.anatomy import build_skeleton, cut_config, renumber
from hf_prune.progress import Progress
from hf_prune.records import Checkpoint
from hf_prune.source import companion_files
from hf_prune.weights import read_index, write_weights


def write_checkpoint(
    source: Path,
    target: Path,
    *,
    kept: tuple[int, ...],
    layer_prefix: str,
    variant: str,
    replacements: Mapping[str, Tensor],
    progress: Progress,
) -> Checkpoint:
    """Write the layers `kept` of the model in `source` as a model of its own into `target`.

    What can fail early does: the configuration is written and the model it describes is checked against
    the names of the kept tensors before any weight is copied.

    Args:
        source: the original, in safetensors form.
        target: an empty folder.
        kept: layers that stay, in order.
        layer_prefix: of the layers' tensors on disk.
        variant: "cut" or "bridged".
        replacements: new values by the tensor's name in `source`.
        progress: shows the tensors going by.

    Raises:
        UnsupportedModel: the configuration cannot describe the shorter model.
    """
    config = cut_config((source / "config.json").read_text(encoding="utf-8"), kept)
    (target / "config.json").write_text(config, encoding="utf-8")
    for path in companion_files(source):
        shutil.copyfile(path, target / path.name)
    position = {layer: number for number, layer in enumerate(kept)}
    index = read_index(source)
    names = {name: new for name in index.tensors if (new := renumber(name, layer_prefix, position))}
    weights = write_weights(index, target, names=names, replacements=replacements, progress=progress)
    build_skeleton(target)  # every parameter of the shorter model has its tensor, of the right shape
    written = read_index(target)
    return Checkpoint(
        variant=variant,
        folder=target.name,
        parameters=written.parameters,
        size_bytes=written.size_bytes,
        weights=weights,
    )
