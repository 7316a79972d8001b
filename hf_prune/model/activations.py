"""Hidden states at one layer boundary, batch by batch: in memory while they fit, then in a file.

The file is read and written plainly, never mapped, so that a full disk is an error and does not end the
process. It has no name, so it vanishes with its states, however the process ends.
"""

import io
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import torch
from torch import Tensor

from hf_prune.machine.disk import plain_disk_errors
from hf_prune.model.weights import write_all

WIDEST_ELEMENT = 8  # bytes: a batch's slot in the file fits any dtype; unwritten bytes take no room


@dataclass
class ActivationMemory:
    """How many bytes of memory all hidden states together may take; the rest go to files in `folder`."""

    limit: int | None = None  # None: no limit
    folder: Path | None = None  # None: the system's folder for temporary files
    in_use: int = 0

    def take(self, size: int) -> bool:
        """Take `size` more bytes if they fit, and return whether they do."""
        if self.limit is not None and self.in_use + size > self.limit:
            return False
        self.in_use += size
        return True

    def give_back(self, size: int) -> None:
        """Free bytes that were taken."""
        self.in_use -= size


@dataclass(frozen=True, slots=True)
class _InFile:
    """Where in the file one batch lies."""

    offset: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class Activations(Sequence[Tensor]):
    """A sequence of tensors that grows at its end; each stays in memory if there is room for it."""

    def __init__(self, memory: ActivationMemory) -> None:
        self.memory = memory
        self._items: list[Tensor | _InFile] = []
        self._file: io.FileIO | None = None
        self._file_size = 0
        self._cleanup = ExitStack()  # gives the memory back and closes the file
        weakref.finalize(self, self._cleanup.close)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, batch: int) -> Tensor: ...
    @overload
    def __getitem__(self, batch: slice) -> list[Tensor]: ...
    def __getitem__(self, batch: int | slice) -> Tensor | list[Tensor]:
        if isinstance(batch, slice):
            return [self[number] for number in range(*batch.indices(len(self)))]
        item = self._items[batch]
        return item if isinstance(item, Tensor) else self._read(item, 0, item.shape[0])

    def __setitem__(self, batch: int, states: Tensor) -> None:
        """Replace a batch, or append one at the index after the last."""
        if batch == len(self._items):
            self.append(states)
            return
        item = self._items[batch]
        self._items[batch] = states if isinstance(item, Tensor) else self._write(item.offset, states)

    def rows(self, batch: int, start: int, stop: int) -> Tensor:
        """Read the rows from `start` to `stop` of a batch, and no others."""
        item = self._items[batch]
        return item[start:stop] if isinstance(item, Tensor) else self._read(item, start, stop)

    def append(self, states: Tensor) -> None:
        """Add a batch."""
        size = states.numel() * states.element_size()
        if self.memory.take(size):
            self._cleanup.callback(self.memory.give_back, size)
            self._items.append(states)
            return
        offset = self._file_size
        self._file_size += states.numel() * WIDEST_ELEMENT
        self._items.append(self._write(offset, states))

    def _at(self, offset: int) -> io.FileIO:
        if self._file is None:
            self._file = self._cleanup.enter_context(_nameless_file(self.memory.folder))
        self._file.seek(offset)
        return self._file

    def _write(self, offset: int, states: Tensor) -> _InFile:
        content = _bytes_of(states.detach().to("cpu").contiguous())
        with plain_disk_errors(self.memory.folder or Path(tempfile.gettempdir())):
            write_all(content, self._at(offset))
        return _InFile(offset, states.shape, states.dtype, states.device)

    def _read(self, stored: _InFile, start: int, stop: int) -> Tensor:
        row_bytes = stored.shape[1:].numel() * stored.dtype.itemsize
        states = torch.empty(stop - start, *stored.shape[1:], dtype=stored.dtype)
        content, file = _bytes_of(states), self._at(stored.offset + start * row_bytes)
        while content:
            content = content[file.readinto(content) :]
        return states.to(stored.device)


def _nameless_file(folder: Path | None) -> io.FileIO:
    return tempfile.TemporaryFile(buffering=0, dir=folder)


def _bytes_of(states: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return states.reshape(-1).view(torch.uint8).numpy().data
