"""The text to train on: windows packed without padding, and which of their tokens count in the loss."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from hf_prune.errors import UnusableText
from hf_prune.machine.disk import write_whole
from hf_prune.stages.texts.windows import Windows

WATCHED_WINDOWS = 16  # set aside to watch the training by, at most


@dataclass(frozen=True)
class HealingText:
    """Windows of equal length; in conversations only the answers count."""

    ids: Tensor  # (windows, length), int64
    loss_mask: Tensor  # (windows, length), bool: whether a token is to be predicted


def of_windows(windows: Windows) -> HealingText:
    """Plain text: every token counts."""
    return HealingText(windows.ids, torch.ones_like(windows.ids, dtype=torch.bool))


def pack(sequences: Iterable[tuple[list[int], list[bool]]], length: int, name: str) -> HealingText:
    """Cut sequences of ids, and whether each is to be predicted, into windows, one sequence after another.

    Raises:
        UnusableText: the sequences do not fill one window.
    """
    ids: list[int] = []
    mask: list[bool] = []
    for tokens, counted in sequences:
        ids += tokens
        mask += counted
    windows = len(ids) // length
    if windows == 0:
        raise UnusableText(
            f"{name} has {len(ids)} tokens, which does not fill one window of {length}: give more text or a "
            f"smaller --seq-len"
        )
    packed, counting = (torch.tensor(each[: windows * length]).view(windows, length) for each in (ids, mask))
    return HealingText(packed, counting)


def watched_windows(windows: int) -> int:
    """How many windows to set aside in addition to this number to train on."""
    return max(1, min(WATCHED_WINDOWS, windows // 9))


def split_watched(text: HealingText) -> tuple[HealingText, HealingText]:
    """The windows to train on, and the last ones, at most a tenth, to watch the training by."""
    total = len(text.ids)
    if total < 2:
        raise UnusableText(
            "one window of text cannot both train the model and watch the training: give a longer --heal-data"
        )
    watched = max(1, min(WATCHED_WINDOWS, total // 10))
    sizes = (total - watched, watched)
    learnt, aside = map(HealingText, text.ids.split(sizes), text.loss_mask.split(sizes))
    return learnt, aside


def save_text(text: HealingText, path: Path) -> None:
    """Write a text where every process that trains can read it."""
    write_whole(path, save({"ids": text.ids.contiguous(), "loss_mask": text.loss_mask.contiguous()}))


def read_text(path: Path) -> HealingText:
    """Read what `save_text` wrote."""
    return HealingText(**load_file(path))
