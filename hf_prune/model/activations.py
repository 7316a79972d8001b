"""Hidden states at one layer boundary, batch by batch: in memory while they fit, beyond that in a file.

The file is read and written plainly, never mapped: a full disk is then an error, not the end of the
process. It has no name, so it is gone when its states are, whatever ends the process.
"""

import io
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from hf_prune.machine.disk import plain_disk_errors

WIDEST_ELEMENT = 8  # bytes: a place in the file takes any dtype; what is not written takes no room


@dataclass
class ActivationMemory:
    """How many bytes all hidden states together may take; beyond them they go to files in `folder`."""

    limit: int | None = None  # None: no limit
    folder: Path | None = None  # None: the system's folder for temporary files
    in_use: int = 0

    def take(self, size: int) -> bool:
        """Whether `size` more bytes fit; if they do, they are taken."""
        if self.limit is not None and self.in_use + size > self.limit:
            return False
        self.in_use += size
        return True

    def give_back(self, size: list[int]) -> None:
        """Free what a store has taken."""
        self.in_use -= size[0]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the file one batch lies."""

    offset: int
    shape: torch.Size
    dtype: torch.dtype
    device: torch.device


class Activations(Sequence[Tensor]):
    """A sequence of tensors that grows at its end; each stays in memory where there is room for it."""

    def __init__(self, memory: ActivationMemory) -> None:
        self.memory = memory
        self._items: list[Tensor | _Place] = []
        self._file: io.FileIO | None = None
        self._file_size = 0
        self._taken = [0]
        self._ending = ExitStack()  # the memory given back, the file closed
        self._ending.callback(memory.give_back, self._taken)
        weakref.finalize(self, self._ending.close)

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
        """Replace a batch; the one after the last is added."""
        if batch == len(self._items):
            self._add(states)
            return
        held = self._items[batch]
        self._items[batch] = states if isinstance(held, Tensor) else self._write(held.offset, states)

    def append(self, states: Tensor) -> None:
        """Add a batch."""
        self._add(states)

    def rows(self, batch: int, start: int, stop: int) -> Tensor:
        """The first dimension of a batch from `start` to `stop`, and no more of it read."""
        item = self._items[batch]
        return item[start:stop] if isinstance(item, Tensor) else self._read(item, start, stop)

    def _add(self, states: Tensor) -> None:
        size = states.numel() * states.element_size()
        if self.memory.take(size):
            self._taken[0] += size
            self._items.append(states)
            return
        offset = self._file_size
        self._file_size += states.numel() * WIDEST_ELEMENT
        self._items.append(self._write(offset, states))

    def _at(self, offset: int) -> io.FileIO:
        if self._file is None:
            self._file = self._ending.enter_context(_nameless_file(self.memory.folder))
        self._file.seek(offset)
        return self._file

    def _write(self, offset: int, states: Tensor) -> _Place:
        content = memoryview(_bytes_of(states.detach().to("cpu").contiguous()))
        with plain_disk_errors(self.memory.folder or Path(tempfile.gettempdir())):
            file = self._at(offset)
            while content:
                content = content[file.write(content) :]
        return _Place(offset, states.shape, states.dtype, states.device)

    def _read(self, place: _Place, start: int, stop: int) -> Tensor:
        row = place.shape[1:].numel() * place.dtype.itemsize
        states = torch.empty(stop - start, *place.shape[1:], dtype=place.dtype)
        content, file = memoryview(_bytes_of(states)), self._at(place.offset + start * row)
        while content:
            content = content[file.readinto(content) :]
        return states.to(place.device)


def _nameless_file(folder: Path | None) -> io.FileIO:
    return tempfile.TemporaryFile(buffering=0, dir=folder)


def _bytes_of(states: Tensor) -> Any:
    """The memory of a contiguous tensor on the CPU, as an array of bytes."""
    return states.reshape(-1).view(torch.uint8).numpy()
