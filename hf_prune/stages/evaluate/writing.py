"""Free writing: how soon a variant's text differs from the original's, and how much it repeats itself.

When layers are missing, writing breaks before multiple choice does: a model that still picks the right one of
four options may repeat one sentence over and over. Every variant continues the same beginnings of held-out
texts and always takes the likeliest token, so the same weights write the same text.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_prune.errors import first_line
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.progress import Progress
from hf_prune.model.anatomy import count_parameters
from hf_prune.model.decoder import StreamedDecoder, load_with_info
from hf_prune.model.stream import FORWARD_ERRORS
from hf_prune.records import Attempt, Continuations, Writing
from hf_prune.stages.measure.standard_error import standard_error
from hf_prune.stages.texts.text import TextSource
from hf_prune.stages.texts.windows import Windows, windows_of

TEXTS = 8
BEGINNING = 32  # tokens
NEW_TOKENS = 64
NGRAM = 4


def beginnings_of(windows: Windows) -> Windows:
    """The first tokens of the first windows, short enough that the new tokens fit into a window too."""
    length = min(BEGINNING, windows.ids.shape[1] // 2)
    source = TextSource(name=windows.record.name, dataset=windows.record.dataset)
    return windows_of(source, windows.ids[:TEXTS, :length])


def new_tokens(windows: Windows) -> int:
    """How many tokens are written after each beginning, at most."""
    length = windows.ids.shape[1]
    return min(NEW_TOKENS, length - min(BEGINNING, length // 2))


def write(
    folder: Path, decoder: StreamedDecoder, windows: Windows, variant: str, progress: Progress
) -> Continuations:
    """Let a model continue all beginnings at once, loaded as its users load it."""
    size = count_parameters(decoder.skeleton) * decoder.dtype.itemsize
    if reason := reason_not_to_load(size, decoder.device.type):
        return Continuations(variant=variant, reason=reason)
    beginnings = beginnings_of(windows).ids.to(decoder.device)
    try:
        for model in progress([load_with_info(folder, decoder)[0]], f"writing, {variant}", 1, "model"):
            texts = _written(model, beginnings, new_tokens(windows))
    except FORWARD_ERRORS as error:
        reason = f"transformers cannot generate text with {variant}: {first_line(error)}"
        return Continuations(variant=variant, reason=reason)
    return Continuations(variant=variant, texts=texts)


@torch.inference_mode()
def _written(model: Any, beginnings: torch.Tensor, most: int) -> tuple[tuple[int, ...], ...]:
    """The tokens after each beginning: up to and with the end of text, at most `most`."""
    from transformers import GenerationConfig

    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [] if ends is None else [ends]
    # In place of the model's own, which may ask for sampling or forbid repetition.
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=most, eos_token_id=ends or None, pad_token_id=(ends or [0])[0]
    )
    ids = model.generate(beginnings, attention_mask=torch.ones_like(beginnings))
    texts = ids[:, beginnings.shape[1] :].tolist()
    stops = [next((n + 1 for n, token in enumerate(text) if token in ends), len(text)) for text in texts]
    return tuple(tuple(text[:stop]) for text, stop in zip(texts, stops, strict=True))


def compare_writings(
    written: Sequence[Continuations], windows: Windows, decode: Callable[[Sequence[int]], str]
) -> Attempt[Writing]:
    """What variants wrote in figures, or the reason why one of them wrote nothing."""
    if reason := next((each.reason for each in written if each.reason), None):
        return Attempt(reason=reason)
    original, figures = written[0], []
    for each in written:
        repetitions = list(map(repetition, each.texts))
        same = list(map(same_tokens, each.texts, original.texts))
        writing = Writing(
            variant=each.variant,
            repetition=statistics.fmean(repetitions),
            repetition_stderr=standard_error(repetitions),
            same_tokens=None if each is original else statistics.fmean(same),
            written_tokens=statistics.fmean(map(len, each.texts)),
            num_texts=len(each.texts),
            new_tokens=new_tokens(windows),
            sample=decode(each.texts[0]),
            text=beginnings_of(windows).record,
        )
        figures.append(writing)
    return Attempt(found=tuple(figures))


def repetition(tokens: Sequence[int]) -> float:
    """The share of 4-grams that were in the text before; 0 of a text that is too short to have any."""
    ngrams = [tuple(tokens[start : start + NGRAM]) for start in range(len(tokens) - NGRAM + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def same_tokens(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (ours, theirs) in enumerate(pairs) if ours != theirs), min(len(one), len(other)))
