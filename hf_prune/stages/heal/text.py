"""What is trained on: windows packed without padding, and which of their tokens are to be predicted."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from hf_prune.errors import UnusableText
from hf_prune.machine.disk import write_whole
from hf_prune.stages.texts.windows import Windows

WATCHED_WINDOWS = 16  # set aside to watch the training by


@dataclass(frozen=True)
class HealingText:
    """Windows of equal length; of those that hold questions and answers, the answers alone count."""

    ids: Tensor  # (windows, length), int64
    wanted: Tensor  # (windows, length), bool: whether a token is to be predicted

    def part(self, first: int, end: int) -> "HealingText":
        """The windows from `first` to `end`."""
        return HealingText(self.ids[first:end], self.wanted[first:end])


def of_windows(windows: Windows) -> HealingText:
    """Plain text: every token counts."""
    return HealingText(windows.ids, torch.ones_like(windows.ids, dtype=torch.bool))


def pack(sequences: Iterable[tuple[list[int], list[bool]]], length: int, name: str) -> HealingText:
    """Sequences of any length, one after another, cut into windows.

    Args:
        sequences: token ids, and whether each is to be predicted.
        length: of a window.
        name: of where they come from.

    Raises:
        UnusableText: not even one window fills.
    """
    ids: list[int] = []
    wanted: list[bool] = []
    for tokens, counted in sequences:
        ids += tokens
        wanted += counted
    whole = len(ids) // length
    if whole == 0:
        raise UnusableText(
            f"{name} has {len(ids)} tokens, which does not fill one window of {length}: give more text or a "
            f"smaller --seq-len"
        )
    shape = (whole, length)
    windows = torch.tensor(ids[: whole * length]).view(shape)
    counting = torch.tensor(wanted[: whole * length]).view(shape)
    return HealingText(windows, counting)


def watched_beside(windows: int) -> int:
    """How many windows have to be set aside beside so many that are trained on."""
    return max(1, min(WATCHED_WINDOWS, windows // 9))


def part_to_watch(text: HealingText) -> tuple[HealingText, HealingText]:
    """Part the last windows, at most a tenth, from those that are trained on."""
    total = len(text.ids)
    if total < 2:
        raise UnusableText(
            "one window to train on leaves none to watch the training by: give a longer --heal-data"
        )
    aside = max(1, min(WATCHED_WINDOWS, total // 10))
    return text.part(0, total - aside), text.part(total - aside, total)


def save_text(text: HealingText, path: Path) -> None:
    """Write it where every process that trains can read it."""
    write_whole(path, save({"ids": text.ids.contiguous(), "wanted": text.wanted.contiguous()}))


def read_text(path: Path) -> HealingText:
    """What `save_text` wrote."""
    return HealingText(**load_file(path))
