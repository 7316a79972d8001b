"""Safetensors files, read and written tensor by tensor.

Bytes are read with plain reads, never mapped: a mapped file counts as a whole against a memory limit, and
a tensor that points into it keeps it there. Nothing here knows what a decoder layer is.
"""

import errno
import hashlib
import json
import math
import os
import struct
from collections import UserDict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from io import FileIO
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_prune.errors import NoSafetensors, UnsupportedModel
from hf_prune.machine.progress import Progress
from hf_prune.records import WeightFile

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
COPY_CHUNK = 4 << 20  # bytes
PIECES_BEHIND = 4  # pieces written and not yet hashed
# The kernel cannot copy between these two files: they are on another disk, or this is another system.
KERNEL_CANNOT_COPY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)

TORCH_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
}
FLOATING = ("F64", "F32", "F16", "BF16")
STORED_DTYPES = {dtype: name for name, dtype in TORCH_DTYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where one tensor lies on disk."""

    name: str
    dtype: str  # as safetensors writes it: "BF16"
    shape: tuple[int, ...]
    path: Path
    start: int  # offset of its bytes in the file
    size_bytes: int

    @classmethod
    def of(cls, name: str, tensor: torch.Tensor, path: Path, start: int = 0) -> "StoredTensor":
        """Where a tensor lies in a file that holds it as it is."""
        return cls(
            name=name,
            dtype=STORED_DTYPES[tensor.dtype],
            shape=tuple(tensor.shape),
            path=path,
            start=start,
            size_bytes=tensor.nbytes,
        )

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    def read(self) -> torch.Tensor:
        """The tensor in memory of its own, in its stored dtype, on the CPU."""
        if self.dtype not in TORCH_DTYPES:
            raise UnsupportedModel(
                f"{self.name} in {self.path.name} is stored as {self.dtype}, which cannot be computed "
                f"with here; use the full-precision weights of this model instead"
            )
        buffer = torch.empty(self.size_bytes, dtype=torch.uint8)
        with self.path.open("rb") as file:
            file.seek(self.start)
            if self.size_bytes and file.readinto(buffer.numpy().data) != self.size_bytes:
                raise self.cut_short()
        return buffer.view(TORCH_DTYPES[self.dtype]).reshape(self.shape)

    def part(self, axis: int, kept: tuple[int, ...]) -> "TensorPart":
        """The positions `kept` along an axis."""
        return TensorPart(whole=self, axis=axis, kept=kept)

    def chunks(self) -> Iterator[memoryview]:
        """Its bytes, a few at a time; the next chunk overwrites the one before."""
        buffer = memoryview(bytearray(min(COPY_CHUNK, self.size_bytes)))
        with self.path.open("rb") as file:
            file.seek(self.start)
            remaining = self.size_bytes
            while remaining:
                chunk = buffer[:remaining]
                if file.readinto(chunk) != len(chunk):
                    raise self.cut_short()
                remaining -= len(chunk)
                yield chunk

    def cut_short(self) -> UnsupportedModel:
        """The refusal of a file that ends before the tensor does."""
        return UnsupportedModel(f"{self.path} ends in the middle of {self.name}; download it again")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPart:
    """Some positions along one axis of a tensor on disk, such as the kept layers' part of an embedding."""

    whole: StoredTensor
    axis: int
    kept: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape with fewer positions along the axis."""
        return (*self.whole.shape[: self.axis], len(self.kept), *self.whole.shape[self.axis + 1 :])

    @property
    def size_bytes(self) -> int:
        """Bytes of the part."""
        return self.whole.size_bytes // self.whole.shape[self.axis] * len(self.kept)

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, a few at a time."""
        rows = math.prod(self.whole.shape[: self.axis])
        row_bytes = self.whole.size_bytes // max(1, rows)
        at_once = max(1, COPY_CHUNK // max(1, row_bytes))
        with self.whole.path.open("rb") as file:
            file.seek(self.whole.start)
            for start in range(0, rows, at_once):
                count = min(at_once, rows - start)
                read = np.frombuffer(file.read(count * row_bytes), dtype=np.uint8)
                if read.size != count * row_bytes:
                    raise self.whole.cut_short()
                positions = read.reshape(count, self.whole.shape[self.axis], -1)
                yield positions[:, self.kept].tobytes()


Parts = Mapping[str, TensorPart]  # by a tensor's name in the source, what is kept of it


class TensorsOnDemand(UserDict[str, Any]):
    """Tensors by name, from functions by name; each is made when it is read, and not kept."""

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.data[name]()


@dataclass(frozen=True)
class WeightIndex:
    """Every tensor of a checkpoint folder, from the headers of its files alone."""

    folder: Path
    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]  # of the first file: {"format": "pt"}

    @cached_property
    def parameters(self) -> int:
        """How many numbers all tensors hold."""
        return sum(tensor.parameters for tensor in self.tensors.values())

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of all tensors, without the headers."""
        return sum(tensor.size_bytes for tensor in self.tensors.values())


def weight_files(folder: Path) -> tuple[str, ...]:
    """The names of the safetensors files that hold the model in `folder`.

    Raises:
        NoSafetensors: there are none, or one of the index is missing.
    """
    index = folder / INDEX_FILE
    if index.is_file():
        names = tuple(sorted(set(json.loads(index.read_text())["weight_map"].values())))
    elif (folder / SINGLE_FILE).is_file():
        names = (SINGLE_FILE,)
    else:
        raise NoSafetensors(f"{folder} holds neither {SINGLE_FILE} nor {INDEX_FILE}")
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise NoSafetensors(f"{folder} lacks {', '.join(missing)}, which {INDEX_FILE} names")
    return names


def read_index(folder: Path) -> WeightIndex:
    """Read the headers of all weight files in `folder`; the weights themselves stay on disk."""
    tensors: dict[str, StoredTensor] = {}
    metadata: dict[str, str] = {}
    for name in weight_files(folder):
        header, data_start = read_header(folder / name)
        metadata = metadata or header.pop("__metadata__", {})
        header.pop("__metadata__", None)
        for tensor, entry in header.items():
            start, end = entry["data_offsets"]
            tensors[tensor] = StoredTensor(
                name=tensor,
                dtype=entry["dtype"],
                shape=tuple(entry["shape"]),
                path=folder / name,
                start=data_start + start,
                size_bytes=end - start,
            )
    return WeightIndex(folder=folder, tensors=tensors, metadata=metadata)


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, and the offset of its data."""
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
        if not 2 <= length <= path.stat().st_size - 8:
            raise UnsupportedModel(f"{path} is not a whole safetensors file; download it again")
        return json.loads(file.read(length)), 8 + length


def write_weights(
    source: WeightIndex,
    folder: Path,
    *,
    names: Mapping[str, str],
    replacements: Mapping[str, torch.Tensor],
    parts: Parts,
    progress: Progress,
    files: Mapping[str, int] | None = None,
) -> tuple[WeightFile, ...]:
    """Copy tensors from file to file under new names.

    The division into files follows the source, unless `files` gives another. A file of which nothing is kept
    vanishes, and the others are numbered anew.

    Args:
        folder: where the files go; it exists.
        names: by name in `source`, the new name of each tensor that is kept.
        replacements: by name in `source`, values of the same shape, written in the stored dtype.
        parts: by name in `source`, the parts of tensors that are not kept whole.
        files: by name in `source`, the number of the file that a tensor goes into, rising with the order of
            the tensors; None: as in `source`.
    """

    def file_of(tensor: StoredTensor) -> Path | int:
        return files[tensor.name] if files else tensor.path

    kept = [tensor for name, tensor in source.tensors.items() if name in names]
    shards = {file: tuple(shard) for file, shard in groupby(kept, key=file_of)}
    shown = groupby(progress(kept, "writing", len(kept), "tensor"), key=file_of)
    written: list[WeightFile] = []
    weight_map: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=1) as disk:  # one file reaches the disk while the next is copied
        flushed: list[Future[None]] = []
        for number, (file, tensors) in enumerate(shown, start=1):
            file_name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            target = folder / (file_name if len(shards) > 1 else SINGLE_FILE)
            header = _header(shards[file], names, parts, source.metadata)
            sha256 = _write_file(target, _content(header, tensors, replacements, parts))
            flushed.append(disk.submit(_flush_to_disk, target))
            size_bytes = target.stat().st_size
            written.append(WeightFile(name=target.name, size_bytes=size_bytes, sha256=sha256))
            weight_map |= {names[tensor.name]: target.name for tensor in shards[file]}
        for future in flushed:
            future.result()
    if len(shards) > 1:
        total_size = sum(parts.get(tensor.name, tensor).size_bytes for tensor in kept)
        index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")
    return tuple(written)


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> tuple[StoredTensor, ...]:
    """Write tensors of the dtypes in `TORCH_DTYPES` as one file, with one of them at a time in memory.

    Returns:
        The tensors, in the order in which they were written; `start` counts from the end of the header.
    """
    # Wide numbers first, as safetensors itself writes them: then every number is aligned to its width.
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    stored, offset = [], 0
    for name in names:
        stored.append(StoredTensor.of(name, tensors[name], path, offset))
        offset += stored[-1].size_bytes
    header = _header(stored, {name: name for name in names}, {}, {})
    _write_file(path, _content(header, stored, tensors, {}))
    _flush_to_disk(path)
    return tuple(stored)


def _header(
    tensors: Iterable[StoredTensor], names: Mapping[str, str], parts: Parts, metadata: Mapping[str, str]
) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata or {"format": "pt"})}
    offset = 0
    for tensor in tensors:
        written = parts.get(tensor.name, tensor)
        end = offset + written.size_bytes
        shape, data_offsets = list(written.shape), [offset, end]
        entry = {"dtype": tensor.dtype, "shape": shape, "data_offsets": data_offsets}
        entries[names[tensor.name]] = entry
        offset = end
    header = json.dumps(entries, separators=(",", ":")).encode()
    return header + b" " * (-len(header) % 8)  # the format aligns the data to eight bytes


def _content(
    header: bytes, tensors: Iterable[StoredTensor], replacements: Mapping[str, torch.Tensor], parts: Parts
) -> Iterator[bytes | StoredTensor]:
    yield struct.pack("<Q", len(header)) + header
    for tensor in tensors:
        if tensor.name in replacements:
            yield _bytes(replacements[tensor.name], tensor)
        elif tensor.name in parts:
            yield from parts[tensor.name].chunks()
        else:
            yield tensor


def _write_file(path: Path, pieces: Iterable[bytes | StoredTensor]) -> str:
    """Write pieces one after another, and return the sha256, which another thread computes meanwhile.

    The kernel copies unchanged tensors from file to file, as for `cp`; the thread that hashes reads them from
    the kernel's cache.
    """
    digest = hashlib.sha256()
    unhashed: deque[Future[None]] = deque()
    with path.open("wb", buffering=0) as file, ThreadPoolExecutor(max_workers=1) as hashing:
        for piece in pieces:
            if len(unhashed) == PIECES_BEHIND:
                unhashed.popleft().result()
            if isinstance(piece, StoredTensor):
                _copy(piece, file)
                unhashed.append(hashing.submit(_hash, digest, piece))  # read now, and so in the cache
            else:  # in memory: one at a time
                hashed = hashing.submit(_hash, digest, piece)
                write_all(piece, file)
                hashed.result()
        for future in unhashed:
            future.result()
    return digest.hexdigest()


def _hash(digest: Any, piece: bytes | StoredTensor) -> None:
    for chunk in piece.chunks() if isinstance(piece, StoredTensor) else (piece,):
        digest.update(chunk)


def _copy(tensor: StoredTensor, file: FileIO) -> None:
    done = 0
    with tensor.path.open("rb") as source:
        while done < tensor.size_bytes and hasattr(os, "copy_file_range"):
            start, count = tensor.start + done, tensor.size_bytes - done
            try:
                moved = os.copy_file_range(source.fileno(), file.fileno(), count, start)
            except OSError as error:
                if error.errno not in KERNEL_CANNOT_COPY:
                    raise
                break
            if not moved:
                raise tensor.cut_short()
            done += moved
    if done < tensor.size_bytes:
        rest = replace(tensor, start=tensor.start + done, size_bytes=tensor.size_bytes - done)
        for chunk in rest.chunks():
            write_all(chunk, file)


def write_all(chunk: bytes | memoryview, file: FileIO) -> None:
    """Write all bytes of a chunk to an unbuffered file, which may take fewer at a time."""
    unwritten = memoryview(chunk)
    while unwritten:
        unwritten = unwritten[file.write(unwritten) :]


def _flush_to_disk(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _bytes(replacement: torch.Tensor, stored: StoredTensor) -> bytes:
    if tuple(replacement.shape) != stored.shape:
        raise ValueError(f"{stored.name} is {stored.shape}, its replacement {replacement.shape}")
    values = replacement.to(device="cpu", dtype=TORCH_DTYPES[stored.dtype]).contiguous()
    return values.reshape(-1).view(torch.uint8).numpy().tobytes()
