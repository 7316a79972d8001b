"""A draft is counted as transformers uses it, and whatever it proposes the text is the parent's own."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_prune.calibration import Windows
from hf_prune.cut import write_checkpoint
from hf_prune.evaluate.speculation import (
    NEW_TOKENS,
    PROMPT_TOKENS,
    PROMPTS,
    TURNS,
    beginnings,
    figures,
    measure_speculation,
)
from hf_prune.progress import silent
from tests.models import COMMON, silence_layers
from tests.plain import layers_of, plain_logits, plain_model, some_tokens, windows_of


AT_ONCE, CONFIDENT = 20, 0.4  # transformers' own: tokens in a proposal, and when it ends earlier
TinyModels = Callable[..., Path]
Logits = Callable[[list[int]], torch.Tensor]  # of a text's positions


def asked(parent: Path, draft: Path | None, depth: int | None, prompts: list[list[int]]) -> dict[str, Any]:
    return {
        "parent": str(parent),
        "draft": str(draft) if draft else None,
        "depth": depth,
        "prompts": prompts,
        "device": "cpu",
        "trust_remote_code": False,
    }


def logits_of(folder: Path, depth: int | None = None) -> Logits:
    """Of the whole model or of its first layers, without a cache and never past the end of text."""
    model = plain_model(folder)
    kept = tuple(range(depth or len(layers_of(model))))

    def logits(text: list[int]) -> torch.Tensor:
        found = plain_logits(model, torch.tensor([text]), kept)[0]
        found[:, COMMON["eos_token_id"]] = -torch.inf
        return found

    return logits


def propose(draft: Logits, text: list[int], at_most: int) -> list[int]:
    proposal: list[int] = []
    while len(proposal) < at_most:
        chances = draft(text + proposal)[-1].softmax(-1)
        proposal.append(int(chances.argmax()))
        if chances.max() < CONFIDENT:
            break
    return proposal


def speculate(parent: Logits, draft: Logits, prompt: list[int]) -> tuple[int, int]:
    """How many tokens are proposed and accepted, by the definition and token by token."""
    text, end, proposed, accepted = list(prompt), len(prompt) + NEW_TOKENS, 0, 0
    while len(text) < end:
        proposal = propose(draft, text, min(AT_ONCE, end - len(text) - 1))
        own = parent(text + proposal)[len(text) - 1 :].argmax(-1).tolist()
        matches = 0
        while matches < len(proposal) and proposal[matches] == own[matches]:
            matches += 1
        proposed, accepted = proposed + len(proposal), accepted + matches
        text += own[: matches + 1]
    return proposed, accepted


def expected(parent: Logits, draft: Logits, prompts: list[list[int]]) -> tuple[int, int]:
    counts = [speculate(parent, draft, prompt) for prompt in prompts]
    return sum(proposed for proposed, _ in counts), sum(accepted for _, accepted in counts)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    return some_tokens(2, 16).tolist()


@pytest.fixture(scope="module")
def confident(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model whose last layers add little, as a sorted one's do, and whose head is sure."""
    folder = tmp_path_factory.mktemp("confident") / "model"
    shutil.copytree(trained_model, folder)
    return folder


def test_a_cut_is_counted_as_the_definition_has_it(trained_model, tmp_path, prompts):
    draft = tmp_path / "cut"
    draft.mkdir()
    write_checkpoint(
        trained_model, draft, kept=(0, 1, 2, 4, 5), variant="cut", replacements={}, progress=silent
    )
    counted = next(figures(asked(trained_model, draft, None, prompts)))
    found = expected(logits_of(trained_model), logits_of(draft), prompts)
    print(found, counted)
    assert (counted["proposed_tokens"], counted["accepted_tokens"]) == found
    assert 0 < counted["accepted_tokens"] < counted["proposed_tokens"]
    assert counted["same_text"]


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_first_layers_are_counted_as_the_definition_has_it(tiny_models, prompts, family):
    folder = tiny_models(family)
    counted = next(figures(asked(folder, None, 4, prompts)))
    found = expected(logits_of(folder), logits_of(folder, 4), prompts)
    print(found, counted)
    assert (counted["proposed_tokens"], counted["accepted_tokens"]) == found
    assert counted["accepted_tokens"] > 0
    assert counted["same_text"]
