"""Texts cut into windows of token ids."""

import hashlib
import random
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from hf_prune.errors import UnusableText
from hf_prune.records import TextTokens
from hf_prune.stages.texts.text import Text, TextSource


@dataclass(frozen=True)
class Windows:
    """Token ids in windows of equal length, or the pixel values of images, and their record."""

    ids: torch.Tensor  # (sequences, length), int64; or (images, channels, height, width), float32
    record: TextTokens


def to_windows(
    text: Text,
    tokenizer: PreTrainedTokenizerBase,
    *,
    num_sequences: int,
    length: int,
    shuffle_seed: int | None = None,
    whole: bool = False,
) -> Windows:
    """Join documents by blank lines and cut their tokens into windows, without padding.

    If the tokenizer starts each text with a special token (the attention sink of many models), so does each
    window.

    Args:
        num_sequences: at most so many windows.
        length: of a window, in tokens.
        shuffle_seed: shuffles the documents first. None keeps their order.
        whole: give each window all special tokens of a text, those at its end too, as encoders expect.

    Raises:
        UnusableText: the text does not fill one window.
    """
    documents = list(text.documents)
    if shuffle_seed is not None:
        random.Random(shuffle_seed).shuffle(documents)
    start, end = _special_tokens(tokenizer) if whole else (start_tokens(tokenizer), [])
    body = length - len(start) - len(end)
    ids: list[int] = []
    for number, document in enumerate(documents):
        joined = document if number == 0 else f"\n\n{document}"
        ids += tokenizer(joined, add_special_tokens=False, verbose=False)["input_ids"]
        if len(ids) >= num_sequences * body:
            break
    count = min(num_sequences, len(ids) // body)
    if count == 0:
        raise UnusableText(
            f"{text.name} has {len(ids)} tokens, which does not fill one window of {length}: give a "
            f"longer text or a smaller --seq-len"
        )
    windows = torch.tensor([start + ids[n * body : (n + 1) * body] + end for n in range(count)])
    return windows_of(text, windows)


def set_aside(windows: Windows, count: int) -> tuple[Windows, Windows]:
    """Set the last `count` windows aside, but at most half: the other windows, and those set aside."""
    total = windows.ids.shape[0]
    kept = total - min(count, total // 2)
    return windows_part(windows, 0, kept), windows_part(windows, kept, total)


def windows_part(windows: Windows, first: int, end: int) -> Windows:
    """The windows from `first` up to `end`, with the record of that part."""
    return windows_of(windows.record, windows.ids[first:end], windows.record.sequence_length)


def start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special token at the start of each text, for tokenizers that put one there."""
    with_specials = tokenizer("a")["input_ids"]
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and with_specials[:1] == [bos] else []


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text: [CLS] and [SEP] of many encoders."""
    plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    text: list[int] = tokenizer("a")["input_ids"]
    for start in range(len(text)):
        if text[start : start + len(plain)] == plain:
            return text[:start], text[start + len(plain) :]
    return [], []


def windows_of(source: TextSource | TextTokens, ids: torch.Tensor, length: int | None = None) -> Windows:
    """Windows with the record of their source.

    Args:
        ids: (sequences, length), or pixel values.
        length: the tokens of each window. None: one for each id.
    """
    length = ids.shape[1] if length is None else length
    record = TextTokens(
        name=source.name,
        dataset=source.dataset,
        num_sequences=ids.shape[0],
        sequence_length=length,
        num_tokens=len(ids) * length,
        sha256=hashlib.sha256(ids.numpy().tobytes()).hexdigest(),
    )
    return Windows(ids=ids, record=record)
