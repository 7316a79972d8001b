"""Perplexity is what transformers' own loss says on the same windows."""

import math
import statistics

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import POSITIONS_AT_ONCE, open_decoder
from hf_prune.stages.evaluate.perplexity import perplexity
from tests.support.plain import plain_model, some_tokens, windows_of

CPU = torch.device("cpu")


def measured(folder, tokens):
    return perplexity(open_decoder(folder, CPU), windows_of(tokens), "dense", silent)


@torch.no_grad()
def plain_losses(folder, tokens):
    model = plain_model(folder)
    return [model(input_ids=one[None], labels=one[None], use_cache=False).loss.item() for one in tokens]


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "opt"])
def test_the_loss_is_that_of_the_plain_model(tiny_models, family):
    folder, tokens = tiny_models(family), some_tokens(5, 40)
    expected = plain_losses(folder, tokens)
    found = measured(folder, tokens)
    assert found.loss == pytest.approx(statistics.fmean(expected), abs=1e-5)
    assert found.perplexity == pytest.approx(math.exp(statistics.fmean(expected)), rel=1e-5)
    assert found.num_predictions == 5 * 39
    assert found.variant == "dense"
    assert found.text == windows_of(tokens).record


def test_the_standard_error_is_of_the_mean_over_sequences(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(5, 40)
    expected = plain_losses(folder, tokens)
    mean = sum(expected) / 5
    variance = sum((loss - mean) ** 2 for loss in expected) / 4
    assert measured(folder, tokens).loss_stderr == pytest.approx(math.sqrt(variance / 5), rel=1e-3)


def test_one_sequence_has_no_standard_error(tiny_models):
    assert measured(tiny_models("llama"), some_tokens(1, 40)).loss_stderr == 0


@pytest.mark.parametrize("more", [0, 1, 2, POSITIONS_AT_ONCE + 1])
def test_long_sequences_are_summed_over_every_part(tiny_models, more):
    length = POSITIONS_AT_ONCE + more
    folder = tiny_models("llama", max_position_embeddings=2 * length)
    tokens = some_tokens(2, length)
    assert measured(folder, tokens).loss == pytest.approx(
        statistics.fmean(plain_losses(folder, tokens)), abs=1e-5
    )


@pytest.mark.parametrize("at_once", [1, 7, 39, 40])
def test_how_many_positions_go_at_once_does_not_matter(tiny_models, monkeypatch, at_once):
    folder, tokens = tiny_models("llama"), some_tokens(2, 40)
    whole = measured(folder, tokens).loss
    monkeypatch.setattr("hf_prune.stages.evaluate.perplexity.POSITIONS_AT_ONCE", at_once)
    assert measured(folder, tokens).loss == pytest.approx(whole, abs=1e-5)


def test_many_batches_are_matched_with_their_own_tokens(tiny_models):
    folder, tokens = tiny_models("llama"), some_tokens(60, 40)  # 51 a batch
    assert measured(folder, tokens).loss == pytest.approx(
        statistics.fmean(plain_losses(folder, tokens)), abs=1e-5
    )
