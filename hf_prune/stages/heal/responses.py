"""What the original model answers to prompts, as a text to heal on.

Self-Data Distillation (2410.09982) heals instruct models better with answers of the model itself than with
answers of people: what is learnt then moves nothing but what the cut has broken.
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
    """Conversations of one prompt and the model's own answer, drawn from what it predicts.

    Args:
        decoder: the original; it is loaded whole.
        tokenizer: the original's, with a chat template.
        prompts: what the user says.
        seed: of the draws.
        progress: shows the batches going by.

    Yields:
        The token ids of a conversation, and whether each belongs to the answer.

    Raises:
        RecipeError: the model does not fit into memory, or has no chat template.
    """
    if tokenizer.chat_template is None:
        raise RecipeError(
            "--heal-data self is for models that answer: this one has no chat template; give a text instead"
        )
    if reason := reason_not_to_load(decoder.skeleton.index.size_bytes, decoder.device.type):
        raise RecipeError(f"--heal-data self has the original write, which is loaded whole: {reason}")
    model, _ = load_with_info(decoder.skeleton.index.folder, decoder)
    torch.manual_seed(seed)
    batches = list(_batches(prompts))
    for batch in progress(batches, "the original answers", len(batches), "batch"):
        yield from _answer_batch(model, tokenizer, batch)


def _batches(prompts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (prompts[first : first + AT_ONCE] for first in range(0, len(prompts), AT_ONCE))


@torch.inference_mode()
def _answer_batch(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> Iterator[tuple[list[int], list[bool]]]:
    asked = [_conversation(tokenizer, prompt) for prompt in prompts]
    longest = max(map(len, asked))
    ends = _end_tokens(model, tokenizer)
    padded = torch.tensor([[ends[0]] * (longest - len(ids)) + ids for ids in asked], device=model.device)
    mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids in asked], device=model.device)
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
    for ids, answer_ids in zip(asked, written.tolist(), strict=True):
        stop = next((place + 1 for place, token in enumerate(answer_ids) if token in ends), len(answer_ids))
        kept = answer_ids[:stop]
        yield ids + kept, [False] * len(ids) + [True] * len(kept)


def _conversation(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    turns = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end an answer; of models that name none, the tokenizer's, or none that occurs."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = tokenizer.eos_token_id
    return list(ends) if isinstance(ends, list) else [ends if ends is not None else 0]
