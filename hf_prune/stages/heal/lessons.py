"""What the original teaches, computed once and stored: its most likely tokens and its hidden states.

The file holds one piece of equal size for each window of text:

    int32    (length - 1, top)              the most likely next tokens at each position
    float16  (length - 1, top)              their log-probabilities in the whole vocabulary
    bfloat16 (boundaries, length, hidden)   the residual stream at some layer boundaries

It is read and written plainly, never mapped: a full disk is then an error, not the end of the process.
"""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from hf_prune.machine.disk import check_room, plain_disk_errors
from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import POSITIONS_AT_ONCE, StreamedDecoder, states_after

ALIGNMENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """Where the file is and how it is laid out."""

    path: str
    num_windows: int
    length: int
    top: int  # 0: no predictions
    boundaries: tuple[int, ...]  # layer boundaries of the original
    hidden_size: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Bytes of the ids, log-probabilities and states of one window."""
        predicted = (self.length - 1) * self.top
        return 4 * predicted, 2 * predicted, 2 * len(self.boundaries) * self.length * self.hidden_size

    @property
    def window_bytes(self) -> int:
        """Bytes of one window's piece."""
        return -(-sum(self.sizes) // ALIGNMENT) * ALIGNMENT

    def read(self, window: int) -> dict[str, Tensor]:
        """What the original says about one window.

        Returns:
            Whichever are stored of `top_ids` and `top_logprobs`, (length - 1, top), and `states`,
            (boundaries, length, hidden).
        """
        with Path(self.path).open("rb") as file:
            file.seek(window * self.window_bytes)
            piece = bytearray(file.read(self.window_bytes))
        ids, logprobs, _ = self.sizes
        predictions = (self.length - 1, self.top)
        states = (len(self.boundaries), self.length, self.hidden_size)
        layout = (
            ("top_ids", torch.int32, 0, predictions),
            ("top_logprobs", torch.float16, ids, predictions),
            ("states", torch.bfloat16, ids + logprobs, states),
        )
        return {
            name: torch.frombuffer(piece, dtype=dtype, count=math.prod(shape), offset=offset).view(shape)
            for name, dtype, offset, shape in layout
            if math.prod(shape)
        }


@torch.no_grad()
def write_lessons(decoder: StreamedDecoder, ids: Tensor, lessons: Lessons, progress: Progress) -> None:
    """Run the original over the windows, layer by layer, and store what it says; `ids` is (windows, length).

    Each weight is read once for as many windows as fit into memory. The file appears whole or not at all.
    """
    path = Path(lessons.path)
    check_room(path.parent, lessons.num_windows * lessons.window_bytes, "what the original teaches")
    parts = ids.split(_windows_at_once(decoder, lessons))
    last = decoder.num_layers if lessons.top else max(lessons.boundaries)
    partial, first = path.with_name(f".{path.name}.partial"), 0
    with plain_disk_errors(path.parent), partial.open("wb") as file:
        for number, part in enumerate(parts, start=1):
            label = "the original teaches" + (f" {number}/{len(parts)}" if len(parts) > 1 else "")
            _write_part(decoder, part, first, lessons, file, progress(range(last), label, last, "layer"))
            first += len(part)
        file.truncate(lessons.num_windows * lessons.window_bytes)
        os.fsync(file.fileno())
    partial.rename(path)


def _windows_at_once(decoder: StreamedDecoder, lessons: Lessons) -> int:
    if decoder.memory.limit is None:
        return lessons.num_windows
    window = 2 * lessons.length * lessons.hidden_size * decoder.dtype.itemsize  # before and after a layer
    return max(1, decoder.memory.limit // window)


def _write_part(
    decoder: StreamedDecoder, ids: Tensor, first: int, lessons: Lessons, file: BinaryIO, layers: Iterable[int]
) -> None:
    hidden = decoder.enter(ids)
    predictions = sum(lessons.sizes[:2])
    for layer in layers:
        with decoder.layer(layer) as run:
            hidden = states_after(run, hidden)
        if layer + 1 in lessons.boundaries:
            boundary = lessons.boundaries.index(layer + 1)
            offset = predictions + 2 * boundary * lessons.length * lessons.hidden_size
            for window, states in enumerate(_windows(hidden), start=first):
                _write_at(file, window * lessons.window_bytes + offset, states.to(torch.bfloat16))
    if lessons.top:
        _write_predictions(decoder, hidden, first, lessons, file)


def _write_predictions(
    decoder: StreamedDecoder, hidden: Activations, first: int, lessons: Lessons, file: BinaryIO
) -> None:
    with decoder.head() as logits_of:
        for window, states in enumerate(_windows(hidden), start=first):
            tops = []
            for part in states[None, :-1].split(POSITIONS_AT_ONCE, dim=1):
                logits = logits_of(part)[0].float()  # (positions, vocabulary)
                values, ids = logits.topk(lessons.top, dim=-1)
                tops.append((ids, values - logits.logsumexp(-1, keepdim=True)))
            ids, logprobs = (torch.cat(parts) for parts in zip(*tops, strict=True))
            offset = window * lessons.window_bytes
            _write_at(file, offset, ids.to(torch.int32))
            _write_at(file, offset + lessons.sizes[0], logprobs.to(torch.float16))


def _windows(hidden: Activations) -> Iterator[Tensor]:
    """Each window alone, (length, hidden)."""
    return (window for batch in hidden for window in batch)


def _write_at(file: BinaryIO, offset: int, values: Tensor) -> None:
    file.seek(offset)
    file.write(values.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
