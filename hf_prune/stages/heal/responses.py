"""Answers of the original model to prompts, as a text to heal on.

Self-Data Distillation (2410.09982) heals instruct models better with the model's own answers than with
answers of people: training then repairs what the cut broke and changes little else.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from hf_prune.errors import RecipeError
from hf_prune.machine.environment import reason_not_to_load
from hf_prune.machine.progress import Progress
from hf_prune.model.decoder import StreamedDecoder, load_with_info

AT_ONCE = 16  # prompts
LONGEST = 256  # tokens of an answer
EXCERPT = 120  # words of a document that a prompt quotes
QUESTIONS = (
    "Continue this text:\n\n{excerpt}",
    "Summarise this text in a few sentences:\n\n{excerpt}",
    "What is this text about, and who may it be written for?\n\n{excerpt}",
    "Write a short article that begins with this sentence: {sentence}",
    "Explain to a beginner what this is about: {sentence}",
)


def prompts_from(documents: Sequence[str]) -> list[str]:
    """A prompt for each document, so that `--heal-data self` works without a set of prompts."""
    prompts = []
    for number, document in enumerate(documents):
        excerpt = " ".join(document.split()[:EXCERPT])
        sentence = document.strip().splitlines()[0].split(". ")[0][:300]
        prompts.append(QUESTIONS[number % len(QUESTIONS)].format(excerpt=excerpt, sentence=sentence))
    return prompts


def answer(
    decoder: StreamedDecoder,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    seed: int,
    progress: Progress,
) -> Iterator[tuple[list[int], list[bool]]]:
    """The ids of each prompt and the original's sampled answer, and whether each id belongs to the answer.

    Raises:
        RecipeError: the model does not fit into memory, or has no chat template.
    """
    if tokenizer.chat_template is None:
        raise RecipeError(
            "--heal-data self needs a model that answers, but this one has no chat template: give a text"
        )
    if reason := reason_not_to_load(decoder.skeleton.index.size_bytes, decoder.device.type):
        raise RecipeError(f"--heal-data self has to load the whole original to let it write: {reason}")
    model, _ = load_with_info(decoder.skeleton.index.folder, decoder)
    torch.manual_seed(seed)
    batches = [prompts[first : first + AT_ONCE] for first in range(0, len(prompts), AT_ONCE)]
    for batch in progress(batches, "the original answers", len(batches), "batch"):
        yield from _answer_batch(model, tokenizer, batch)


@torch.inference_mode()
def _answer_batch(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> Iterator[tuple[list[int], list[bool]]]:
    turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    questions: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    longest = max(map(len, questions))
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id or 0
    ends = ends if isinstance(ends, list) else [ends]
    padded = torch.tensor([[ends[0]] * (longest - len(ids)) + ids for ids in questions], device=model.device)
    mask = torch.tensor(
        [[0] * (longest - len(ids)) + [1] * len(ids) for ids in questions], device=model.device
    )
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_p=0.95,
        top_k=0,
        max_new_tokens=LONGEST,
        eos_token_id=ends,
        pad_token_id=ends[0],
    )
    written = model.generate(padded, attention_mask=mask, generation_config=settings)[:, longest:]
    for ids, answer_ids in zip(questions, written.tolist(), strict=True):
        stop = next((n for n, token in enumerate(answer_ids, start=1) if token in ends), len(answer_ids))
        kept = answer_ids[:stop]
        yield ids + kept, [False] * len(ids) + [True] * len(kept)
