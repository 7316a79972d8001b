"""What is compared before another form of a model counts notices what it is there to notice."""

import numpy as np
import pytest
import torch

from hf_prune.stages.export.comparison import (
    NEW_TOKENS,
    compare,
    greedy,
    load_in_float32,
    mean_divergence,
    model_runner,
)

TOKENS = np.random.default_rng(0).integers(2, 320, (3, 64))


@pytest.fixture
def model(tiny_models):
    return load_in_float32(tiny_models("llama", num_hidden_layers=2), trust_remote_code=False)


@pytest.fixture
def runner(model):
    return model_runner(model)


def failed(checks):
    return {check.name for check in checks if not check.passed}


def test_a_model_agrees_with_itself(runner):
    checks, divergence = compare(runner, runner, TOKENS)
    assert failed(checks) == set()
    assert len(checks) == 4
    assert divergence == 0


def test_an_altered_weight_is_noticed(model, runner, tiny_models):
    other = load_in_float32(tiny_models("llama", num_hidden_layers=2), trust_remote_code=False)
    with torch.no_grad():
        other.model.layers[1].mlp.down_proj.weight[3, 5] += 1.0
    checks, divergence = compare(model_runner(other), runner, TOKENS)
    assert {"logits of a prompt", "logits of a padded batch", "logits of a continuation"} <= failed(checks)
    assert divergence > 0


def test_a_form_that_takes_no_notice_of_padding_is_noticed(runner):
    def sees_padding(ids, mask, cache):
        return runner(ids, np.ones_like(mask), cache)

    assert failed(compare(sees_padding, runner, TOKENS)[0]) == {"logits of a padded batch"}


def test_a_form_that_forgets_its_cache_is_noticed(runner):
    def forgets(ids, mask, cache):
        logits, _ = runner(ids, mask[:, -ids.shape[1] :], None)
        return logits, cache

    assert failed(compare(forgets, runner, TOKENS)[0]) == {
        "logits of a continuation",
        f"{NEW_TOKENS} greedy tokens",
    }


def test_logits_that_are_no_numbers_are_noticed(runner):
    def broken(ids, mask, cache):
        logits, after = runner(ids, mask, cache)
        return np.full_like(logits, np.nan), after

    assert {"logits of a prompt", "logits of a continuation"} <= failed(compare(broken, runner, TOKENS)[0])


def test_greedy_decoding_is_what_transformers_generates(model, runner):
    prompt = torch.from_numpy(TOKENS[:1])
    model.generation_config.eos_token_id = None
    expected = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=NEW_TOKENS
    )
    assert list(greedy(runner, TOKENS[:1])) == expected[0, TOKENS.shape[1] :].tolist()


def test_the_divergence_is_that_of_torch():
    torch.manual_seed(1)
    expected, found = torch.randn(2, 5, 30).double(), torch.randn(2, 5, 30).double()
    wanted = torch.nn.functional.kl_div(
        found.log_softmax(-1), expected.log_softmax(-1), reduction="none", log_target=True
    )
    assert mean_divergence(expected.numpy(), found.numpy()) == pytest.approx(wanted.sum(-1).mean().item())
