"""What the original teaches, computed once and stored: its most likely tokens and its states.

A file of equal pieces, one for each window of text:

    int32    (length - 1, top)      the most likely next tokens at each position
    float16  (length - 1, top)      their log-probabilities in the whole vocabulary
    bfloat16 (boundaries, length, hidden)   the residual stream at the boundaries asked for

It is read and written plainly, never mapped: a full disk is then an error, not the end of the process.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hf_prune.machine.disk import check_room, plain_disk_errors
from hf_prune.machine.progress import Progress
from hf_prune.model.activations import Activations
from hf_prune.model.decoder import POSITIONS_AT_ONCE, StreamedDecoder, states_after

ALIGNMENT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """The layout of such a file."""

    path: str
    num_windows: int
    length: int
    top: int  # 0: no predictions
    boundaries: tuple[int, ...]  # layer boundaries of the original
    hidden_size: int

    @property
    def _sizes(self) -> tuple[int, int, int]:
        predicted = (self.length - 1) * self.top
        return 4 * predicted, 2 * predicted, 2 * len(self.boundaries) * self.length * self.hidden_size

    @property
    def piece_bytes(self) -> int:
        """What a window takes."""
        return -(-sum(self._sizes) // ALIGNMENT) * ALIGNMENT

    def read(self, window: int) -> dict[str, Tensor]:
        """What the original says of one window.

        Returns:
            Of `top_ids` and `top_logprobs`, (length - 1, top), and `states`, (boundaries, length, hidden),
            those that are stored.
        """
        with Path(self.path).open("rb") as file:
            file.seek(window * self.piece_bytes)
            piece = bytearray(file.read(self.piece_bytes))
        ids, logprobs, states = self._sizes
        found: dict[str, Tensor] = {}
        if self.top:
            shape = (self.length - 1, self.top)
            found["top_ids"] = torch.frombuffer(piece, dtype=torch.int32, count=ids // 4).view(shape)
            found["top_logprobs"] = torch.frombuffer(
                piece, dtype=torch.float16, count=logprobs // 2, offset=ids
            ).view(shape)
        if self.boundaries:
            found["states"] = torch.frombuffer(
                piece, dtype=torch.bfloat16, count=states // 2, offset=ids + logprobs
            ).view(len(self.boundaries), self.length, self.hidden_size)
        return found


@torch.no_grad()
def write_lessons(decoder: StreamedDecoder, ids: Tensor, lessons: Lessons, progress: Progress) -> None:
    """Run the original over the windows, layer by layer, and store what it says.

    Each of its weights is read once for as many windows as their states fit into memory.

    Args:
        decoder: the original.
        ids: (windows, length).
        lessons: what to store and where; the file appears whole or not at all.
        progress: shows the layers going by.
    """
    path = Path(lessons.path)
    check_room(path.parent, lessons.num_windows * lessons.piece_bytes, "what the original teaches")
    parts = ids.split(_windows_at_once(decoder, lessons))
    partial = path.with_name(f".{path.name}.partial")
    with plain_disk_errors(path.parent), partial.open("wb") as file:
        first = 0
        for number, part in enumerate(parts, start=1):
            label = "the original teaches" + (f" {number}/{len(parts)}" if len(parts) > 1 else "")
            _write_part(decoder, part, first, lessons, file.fileno(), progress, label)
            first += len(part)
        file.truncate(lessons.num_windows * lessons.piece_bytes)
        os.fsync(file.fileno())
    partial.rename(path)


def _windows_at_once(decoder: StreamedDecoder, lessons: Lessons) -> int:
    if decoder.memory.limit is None:
        return lessons.num_windows
    window = 2 * lessons.length * lessons.hidden_size * decoder.dtype.itemsize  # before and after a layer
    return max(1, decoder.memory.limit // window)


def _write_part(
    decoder: StreamedDecoder,
    ids: Tensor,
    first: int,
    lessons: Lessons,
    file: int,
    progress: Progress,
    label: str,
) -> None:
    hidden = decoder.enter(ids)
    predicted = sum(lessons._sizes[:2])
    last = decoder.num_layers if lessons.top else max(lessons.boundaries)
    for layer in progress(range(last), label, last, "layer"):
        with decoder.layer(layer) as run:
            hidden = states_after(run, hidden)
        if layer + 1 in lessons.boundaries:
            place = lessons.boundaries.index(layer + 1)
            skipped = predicted + 2 * place * lessons.length * lessons.hidden_size
            for window, states in enumerate(_windows(hidden), start=first):
                _put(file, window * lessons.piece_bytes + skipped, states.to(torch.bfloat16))
    if lessons.top:
        _write_predictions(decoder, hidden, first, lessons, file)


def _write_predictions(
    decoder: StreamedDecoder, hidden: Activations, first: int, lessons: Lessons, file: int
) -> None:
    with decoder.head() as logits_of:
        for window, states in enumerate(_windows(hidden), start=first):
            tops = []
            for part in states[None, :-1].split(POSITIONS_AT_ONCE, dim=1):
                logits = logits_of(part)[0].float()  # (positions, vocabulary)
                values, which = logits.topk(lessons.top, dim=-1)
                tops.append((which, values - logits.logsumexp(-1, keepdim=True)))
            which, logprobs = (torch.cat(parts) for parts in zip(*tops, strict=True))
            place = window * lessons.piece_bytes
            _put(file, place, which.to(torch.int32))
            _put(file, place + lessons._sizes[0], logprobs.to(torch.float16))


def _windows(hidden: Activations) -> Iterator[Tensor]:
    """Each window alone, (length, hidden)."""
    return (window for batch in hidden for window in batch)


def _put(file: int, place: int, values: Tensor) -> None:
    content = memoryview(values.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    while content:
        written = os.pwrite(file, content, place)
        content, place = content[written:], place + written
