"""A draft is counted as transformers uses it, and whatever it proposes the text is the parent's own."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_prune.machine.progress import silent
from hf_prune.stages.cut.checkpoint import write_checkpoint
from hf_prune.stages.evaluate.speculation import (
    NEW_TOKENS,
    PROMPT_TOKENS,
    PROMPTS,
    TURNS,
    beginnings,
    measure_speculation,
    measurements,
)
from tests.support.models import COMMON
from tests.support.plain import plain_logits, plain_model, some_tokens, windows_of
from tests.support.sample_run import sample_speculation

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
    kept = tuple(range(depth)) if depth else None

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


def counts_of(counted: dict[str, Any]) -> tuple[int, int]:
    return counted["proposed_tokens"], counted["accepted_tokens"]


def expected(parent: Logits, draft: Logits, prompts: list[list[int]]) -> tuple[int, int]:
    counts = [speculate(parent, draft, prompt) for prompt in prompts]
    return sum(proposed for proposed, _ in counts), sum(accepted for _, accepted in counts)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    return some_tokens(2, 8).tolist()


@pytest.fixture(scope="module")
def confident(trained_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model that is so sure of every token that its proposals are long."""
    folder = tmp_path_factory.mktemp("confident") / "model"
    shutil.copytree(trained_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] *= 8
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def without_layer(number: int, source: Path, target: Path) -> Path:
    kept = tuple(layer for layer in range(6) if layer != number)
    target.mkdir()
    write_checkpoint(source, target, kept=kept, variant="cut", replacements={}, progress=silent)
    return target


@pytest.mark.parametrize("sure", [False, True])
def test_a_draft_is_counted_as_the_definition_has_it(trained_model, confident, tmp_path, prompts, sure):
    parent = confident if sure else trained_model
    draft = without_layer(3, parent, tmp_path / "cut")
    counted = next(measurements(asked(parent, draft, None, prompts)))
    assert counts_of(counted) == expected(logits_of(parent), logits_of(draft), prompts)
    assert 0 < counted["accepted_tokens"] < counted["proposed_tokens"]
    assert counted["same_text"]


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_first_layers_are_counted_as_the_definition_has_it(tiny_models, prompts, family):
    folder = tiny_models(family)
    counted = next(measurements(asked(folder, None, 4, prompts)))
    assert counts_of(counted) == expected(logits_of(folder), logits_of(folder, 4), prompts)
    assert 0 < counted["accepted_tokens"] < counted["proposed_tokens"]
    assert counted["same_text"]


def test_a_draft_that_always_agrees_is_accepted_whole(confident, prompts):
    counted = next(measurements(asked(confident, confident, None, prompts)))
    assert 0 < counted["accepted_tokens"] == counted["proposed_tokens"]


def test_a_draft_that_never_agrees_leaves_the_text_as_it_is(trained_model, tmp_path, prompts):
    """Every proposal is the token after the parent's, in the vocabulary's order."""
    draft = tmp_path / "shifted"
    shutil.copytree(trained_model, draft)
    weights = load_file(draft / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].roll(1, dims=0)
    save_file(weights, draft / "model.safetensors", metadata={"format": "pt"})
    counted = next(measurements(asked(trained_model, draft, None, prompts)))
    assert counted["accepted_tokens"] == 0 < counted["proposed_tokens"]
    assert counted["same_text"]


def test_a_family_that_runs_all_its_layers_cannot_be_its_own_draft(tiny_models, prompts):
    (found,) = measurements(asked(tiny_models("gpt2"), None, 4, prompts))
    assert found == {
        "reason": "GPT2LMHeadModel ignores `num_hidden_layers` and runs all its layers, so its first 4 "
        "cannot be the draft"
    }


def test_a_family_whose_state_cannot_go_back_is_not_drafted_for(tiny_models, prompts):
    folder = tiny_models("mamba")
    (found,) = measurements(asked(folder, folder, None, prompts))
    assert found["reason"].startswith("transformers cannot use a draft with MambaForCausalLM")


def test_models_that_do_not_fit_are_not_loaded(tiny_models, prompts):
    folder = tiny_models("llama")
    trial = measure_speculation(folder, folder, prompts, 10**15, "cpu", silent)
    assert trial.found == ()
    assert "loading the whole model takes about" in trial.reason


def test_what_the_process_prints_becomes_the_record(tiny_models, prompts):
    folder = tiny_models("llama")
    trial = measure_speculation(folder, 4, prompts, 1, "cpu", silent)
    (found,) = trial.found
    assert trial.reason is None
    counted = next(measurements(asked(folder, None, 4, prompts)))
    assert (found.proposed_tokens, found.accepted_tokens) == counts_of(counted)
    assert (found.draft, found.depth, found.runs) == (folder.name, 4, TURNS)
    assert (found.prompts, found.prompt_tokens, found.new_tokens) == (2, 8, NEW_TOKENS)
    assert (found.device, found.dtype, found.same_text) == ("cpu", "float32", True)
    for rate, (lowest, highest) in (
        (found.tokens_per_second, found.tokens_per_second_range),
        (found.tokens_per_second_alone, found.tokens_per_second_alone_range),
    ):
        assert 0 < lowest <= rate <= highest


def test_prompts_are_the_beginnings_of_the_first_windows():
    windows = windows_of(some_tokens(PROMPTS + 2, PROMPT_TOKENS + 8))
    assert beginnings(windows) == windows.ids[:PROMPTS, :PROMPT_TOKENS].tolist()


def test_the_figures_of_a_speculation_follow_from_its_counts():
    found = replace(sample_speculation(), prompts=4, new_tokens=48, proposed_tokens=200, accepted_tokens=128)
    assert found.acceptance_rate == 0.64
    assert found.verifications == 64
    assert found.tokens_per_verification == 3


@pytest.mark.parametrize(
    ("with_draft", "alone", "verdict"),
    [
        ((20.0, 22.0), (10.0, 11.0), "faster"),
        ((8.0, 9.0), (10.0, 11.0), "slower"),
        ((10.5, 12.0), (10.0, 11.0), "unclear"),
    ],
)
def test_runs_that_overlap_do_not_say_which_is_faster(with_draft, alone, verdict):
    ranges = {"tokens_per_second_range": with_draft, "tokens_per_second_alone_range": alone}
    assert replace(sample_speculation(), **ranges).verdict == verdict
