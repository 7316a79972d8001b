"""Pickled weights (`pytorch_model.bin`), converted to safetensors, from which hf-prune cuts layers.

torch reads them with `weights_only`, which builds tensors and refuses everything else. Code in such a file
never runs.
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
ZIP_MAGIC = b"PK\x03\x04"  # torch 1.6 and later. Older files are a bare pickle, which cannot be mapped
REFUSED_GLOBAL = r"GLOBAL (\S+) (?:was not an allowed global|whose module)"


def weight_files(folder: Path, *, pickled: bool) -> tuple[str, ...]:
    """The names of a model's weight files: those in its index, or the only one. They may be missing."""
    index, single = (PICKLED_INDEX, PICKLED_FILE) if pickled else (INDEX_FILE, SINGLE_FILE)
    if (folder / index).is_file():
        weight_map = json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"]
        return tuple(sorted(set(weight_map.values())))
    return (single,)


def convert_pickle(folder: Path, target: Path, *, beside: Iterable[Path], tied: Collection[str]) -> Path:
    """Write a model with pickled weights again, with the same tensors in safetensors files.

    Names, dtypes and the division into files stay. Files are mapped, so that only one tensor at a time is in
    memory. Files of torch before 1.6 cannot be mapped and are read one at a time. The files `beside` the
    weights are copied, byte for byte.

    Args:
        target: the folder to create. If it exists, it is complete and stays.
        tied: tensors that the architecture takes from others. Those that share their memory are left out.

    Raises:
        NoSafetensors: a file that the index names is missing.
        UnsupportedModel: a file tries to run code, is damaged, or holds more than tensors.
        DiskFull: there is no room for the copy.
    """
    if target.is_dir():
        return target
    paths = [folder / name for name in weight_files(folder, pickled=True)]
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
    content = _unpickle(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # some training loops wrap it
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
    except Exception as error:  # a file of unknown origin may raise any of them
        if refused := re.search(REFUSED_GLOBAL, str(error)):
            raise UnsupportedModel(
                f"{path.name} wants to run code when it is read ({refused[1]}), so it was not loaded: use a "
                f"safetensors copy of this model, and beware of this one"
            ) from error
        # The reason in torch's words, without its advice to read the file unsafely.
        match = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        raise UnsupportedModel(
            f"{path.name} cannot be read as pickled tensors ({match[1] if match else first_line(error)}): "
            f"download it again, or use a safetensors copy of this model"
        ) from error


def _without_copies(tensors: dict[str, torch.Tensor], tied: Collection[str]) -> dict[str, torch.Tensor]:
    """Leave out tied tensors that share their memory with one that stays."""
    stored = {_memory(tensor) for name, tensor in tensors.items() if name not in tied}
    return {name: each for name, each in tensors.items() if name not in tied or _memory(each) not in stored}


def _memory(tensor: torch.Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()
