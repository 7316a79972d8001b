"""Pickled weights (`pytorch_model.bin`) as safetensors, which is what layers are cut from.

torch reads them with `weights_only`, which builds tensors and refuses everything else, so nothing that is
written in such a file is ever run.
"""

import json
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from hf_prune.errors import NoSafetensors, UnsupportedModel, first_line
from hf_prune.machine.disk import check_room, whole_folder
from hf_prune.model.weights import INDEX_FILE, SINGLE_FILE, STORED_DTYPES, write_tensors

PICKLED_FILE = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"
ZIP_MAGIC = b"PK\x03\x04"  # torch 1.6 and later; older files are a bare pickle, which cannot be mapped
REFUSED_GLOBAL = r"GLOBAL (\S+) (?:was not an allowed global|whose module)"


def pickled_files(folder: Path) -> tuple[str, ...]:
    """The names of the pickled files that make up the model in `folder`, whether they are there or not."""
    if (folder / PICKLED_INDEX).is_file():
        weight_map = json.loads((folder / PICKLED_INDEX).read_text(encoding="utf-8"))["weight_map"]
        return tuple(sorted(set(weight_map.values())))
    return (PICKLED_FILE,)


def convert_pickle(folder: Path, target: Path, *, beside: Iterable[Path], tied: Collection[str]) -> Path:
    """Write a model whose weights are pickled with the same tensors in safetensors files.

    Names, dtypes and the division into files stay. Files are mapped, so that one tensor at a time is in
    memory; those of torch before 1.6 cannot be and are read one file at a time.

    Args:
        folder: the model.
        target: the folder to make; one that exists is whole and stays.
        beside: files that are copied along, byte for byte.
        tied: tensors that the architecture takes from another one; they are left out where they are
            stored as that very one.

    Raises:
        NoSafetensors: a file that the index names is missing.
        UnsupportedModel: a file wants to run code, is damaged, or holds something else than tensors.
        DiskFull: there is no room for the copy.
    """
    if target.is_dir():
        return target
    paths = [folder / name for name in pickled_files(folder)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise NoSafetensors(f"{folder} lacks {', '.join(missing)}, which {PICKLED_INDEX} names")
    check_room(target.parent, sum(path.stat().st_size for path in paths), "converting pickled weights")
    with whole_folder(target) as partial:
        for path in beside:
            shutil.copyfile(path, partial / path.name)
        weight_map, total_size = {}, 0
        for number, path in enumerate(paths, start=1):
            name = f"model-{number:05d}-of-{len(paths):05d}.safetensors" if len(paths) > 1 else SINGLE_FILE
            for stored in write_tensors(partial / name, _without_copies(_tensors(path), tied)):
                weight_map[stored.name] = name
                total_size += stored.size_bytes
        if len(paths) > 1:
            index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
            (partial / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return target


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    """What a pickled file holds by name, mapped where that can be done."""
    content = _unpickle(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # as a training loop wraps it
    if not isinstance(content, Mapping):
        raise UnsupportedModel(f"{path.name} holds a {type(content).__name__}, not tensors by name")
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise UnsupportedModel(
                f"{path.name} holds more than tensors: {name!r} is of type {type(value).__name__}; use a "
                f"safetensors copy of this model"
            )
        if value.layout != torch.strided or value.is_meta or value.dtype not in STORED_DTYPES:
            raise UnsupportedModel(
                f"{name} in {path.name} is stored as {value.dtype}, {value.layout}, on {value.device}, which "
                f"cannot be computed with here; use the full-precision weights of this model instead"
            )
    return {name: value.detach() for name, value in content.items()}


def _unpickle(path: Path) -> Any:
    with path.open("rb") as file:
        mappable = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
    try:
        return torch.load(path, map_location="cpu", mmap=mappable, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a file of unknown origin may end in any of them
        if refused := re.search(REFUSED_GLOBAL, str(error)):
            raise UnsupportedModel(
                f"{path.name} wants to run code when it is read ({refused[1]}), so it was not loaded: use a "
                f"safetensors copy of this model, and beware of this one"
            ) from error
        raise UnsupportedModel(
            f"{path.name} cannot be read as pickled tensors ({_said(error)}): download it again, or use a "
            f"safetensors copy of this model"
        ) from error


def _said(error: Exception) -> str:
    """What torch found, without its advice to read the file unsafely."""
    found = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
    return found[1] if found else first_line(error)


def _without_copies(tensors: dict[str, torch.Tensor], tied: Collection[str]) -> dict[str, torch.Tensor]:
    """Leave out tied tensors that share their memory with one that stays."""
    own = {_place(tensor) for name, tensor in tensors.items() if name not in tied}
    return {name: tensor for name, tensor in tensors.items() if name not in tied or _place(tensor) not in own}


def _place(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()
