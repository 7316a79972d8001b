"""Taylor scores against one ordinary backward pass through the whole model."""

import pytest
import torch
from torch.nn import functional

from hf_prune.machine.progress import silent
from hf_prune.model.activations import ActivationMemory
from hf_prune.model.decoder import TOKENS_AT_ONCE, open_decoder
from hf_prune.stages.measure.taylor import taylor
from tests.support.plain import layers_of, plain_model, some_tokens, windows_of

CPU = torch.device("cpu")


def measured(folder, tokens, memory=None):
    return taylor(open_decoder(folder, CPU, memory), windows_of(tokens), silent)


def brute_force(folder, tokens):
    """The sum of |W * dL/dW| over each layer's parameters but biases, L the mean loss of all predictions."""
    model = plain_model(folder)
    logits = model(input_ids=tokens, use_cache=False).logits[:, :-1]
    functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
    return [
        sum(
            (parameter.double() * parameter.grad.double()).abs().sum().item()
            for name, parameter in layer.named_parameters()
            if not name.endswith("bias")
        )
        for layer in layers_of(model)
    ]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "olmo2", "mamba"])
def test_scores_are_those_of_an_ordinary_backward_pass(tiny_models, family):
    folder, tokens = tiny_models(family), some_tokens(3, 40)
    expected = brute_force(folder, tokens)
    assert min(expected) > 1e-3
    assert measured(folder, tokens).values == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_gradients_of_several_batches_are_added_before_they_count(tiny_models, family):
    folder, tokens = tiny_models(family), some_tokens(60, 40)
    assert tokens.numel() > TOKENS_AT_ONCE
    assert measured(folder, tokens).values == pytest.approx(brute_force(folder, tokens), rel=1e-4)


def test_windows_longer_than_the_head_takes_at_once_are_whole(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(2, 300)
    assert measured(folder, tokens).values == pytest.approx(brute_force(folder, tokens), rel=1e-4)


def test_biases_do_not_count(tiny_models):
    """gpt2's biases have gradients of their own, so a score that took them in would be larger."""
    folder, tokens = tiny_models("gpt2"), some_tokens(3, 40)
    model = plain_model(folder)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.5)
    moved = folder.parent / "gpt2-with-biases"
    model.save_pretrained(moved)
    assert measured(moved, tokens).values == pytest.approx(brute_force(moved, tokens), rel=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("limit", [0, 700_000])  # states of one boundary take 307,200 bytes
def test_states_that_went_through_a_file_give_the_same_scores(tiny_models, tmp_path, family, limit):
    folder, tokens = tiny_models(family), some_tokens(60, 40)
    memory = ActivationMemory(limit=limit, folder=tmp_path)
    assert measured(folder, tokens, memory) == measured(folder, tokens)
    assert memory.in_use == 0
    assert list(tmp_path.iterdir()) == []


def test_bfloat16_scores_are_near_those_of_float32(tiny_models):
    tokens = some_tokens(3, 40)
    half = measured(tiny_models("llama", dtype=torch.bfloat16), tokens).values
    assert half == pytest.approx(measured(tiny_models("llama"), tokens).values, rel=0.05)


def test_a_layer_that_adds_nothing_scores_nothing(with_identity_layer):
    scores = measured(with_identity_layer([2]), some_tokens(3, 40)).values
    assert scores[2] == 0
    assert min(score for layer, score in enumerate(scores) if layer != 2) > 0


def test_the_record_names_the_criterion_and_the_text(tiny_models):
    tokens = some_tokens(2, 8)
    scores = measured(tiny_models("llama"), tokens)
    assert scores.criterion == "taylor"
    assert scores.text == windows_of(tokens).record
    assert len(scores.values) == 6


def test_a_decoder_is_left_as_it_was(tiny_models):
    decoder = open_decoder(tiny_models("llama"), CPU)
    windows = windows_of(some_tokens(2, 24))
    first = taylor(decoder, windows, silent)
    parameters = list(decoder.skeleton.model.parameters())
    assert all(parameter.is_meta and not parameter.requires_grad for parameter in parameters)
    assert taylor(decoder, windows, silent) == first
