"""Texts cut into windows of token ids."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from hf_prune.errors import UnusableText
from hf_prune.records import TextTokens
from hf_prune.stages.texts.text import Text


@dataclass(frozen=True)
class Windows:
    """Token ids in windows of equal length, or the pixel values of images, and the record of them."""

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

    A tokenizer that starts each text with a special token (the attention sink of many models) gets it
    at the start of each window.

    Args:
        text: the documents.
        tokenizer: the model's own.
        num_sequences: how many windows are wanted; fewer come back where the text is shorter.
        length: of a window, in tokens.
        shuffle_seed: mixes the documents first; None keeps their order.
        whole: whether a window has all special tokens of a text, those at its end too, as encoders want it.

    Raises:
        UnusableText: not even one window fills.
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
    """Part the last windows from the others, to choose by what was not fitted on.

    Args:
        windows: all of them.
        count: how many to set aside; of few windows at most half.

    Returns:
        The others, and those set aside (none where there is only one window).
    """
    total = windows.ids.shape[0]
    kept = total - min(count, total // 2)
    return windows_part(windows, 0, kept), windows_part(windows, kept, total)


def windows_part(windows: Windows, first: int, end: int) -> Windows:
    """The windows from `first` to `end`, with the record of that part."""
    source = Text(name=windows.record.name, dataset=windows.record.dataset, documents=())
    return windows_of(source, windows.ids[first:end], windows.record.sequence_length)


def start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special token that a tokenizer starts each text with, if it does."""
    with_specials = tokenizer("a")["input_ids"]
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and with_specials[:1] == [bos] else []


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """What a tokenizer puts before a text and behind it: [CLS] and [SEP] of many encoders."""
    plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    text: list[int] = tokenizer("a")["input_ids"]
    places = [place for place in range(len(text)) if text[place : place + len(plain)] == plain]
    return (text[: places[0]], text[places[0] + len(plain) :]) if places else ([], [])


def windows_of(text: Text, ids: torch.Tensor, length: int | None = None) -> Windows:
    """Windows with the record that says where their ids came from.

    Args:
        text: of which only the name and the data set are looked at.
        ids: (sequences, length), or pixel values.
        length: the tokens of each; None: as many as there are ids.
    """
    length = ids.shape[1] if length is None else length
    record = TextTokens(
        name=text.name,
        dataset=text.dataset,
        num_sequences=ids.shape[0],
        sequence_length=length,
        num_tokens=len(ids) * length,
        sha256=hashlib.sha256(ids.numpy().tobytes()).hexdigest(),
    )
    return Windows(ids=ids, record=record)


def longest_window(requested: int, limits: Sequence[int | None]) -> int:
    """The window that fits what the model was made for."""
    return min([requested, *(limit for limit in limits if limit)])
