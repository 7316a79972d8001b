"""The three things that can be learnt are the formulas that they are said to be."""

import pytest
import torch
from torch.nn import functional

from hf_prune.stages.heal.objective import prediction_loss, state_loss, text_loss

IDS = torch.randint(0, 50, (3, 12), generator=torch.Generator().manual_seed(3))
ALL = torch.ones_like(IDS, dtype=torch.bool)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lessons_from(logits, top):
    """What the original says: its most likely tokens and their log-probabilities."""
    logprobs, which = logits[:, :-1].log_softmax(-1).topk(top, dim=-1)
    return which.to(torch.int32), logprobs


def divergence(original, model):
    """KL of the whole vocabulary, the mean over positions."""
    own, wished = model[:, :-1].log_softmax(-1), original[:, :-1].log_softmax(-1)
    return (wished.exp() * (wished - own)).sum(-1).mean().item()


def test_text_is_learnt_by_cross_entropy_of_the_next_token():
    logits = drawn(3, 12, 50)
    expected = functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
    assert text_loss(logits, IDS, ALL).item() == pytest.approx(expected.item(), rel=1e-6)


def test_what_the_user_said_does_not_count():
    logits, wanted = drawn(3, 12, 50), ALL.clone()
    wanted[:, :8] = False
    expected = functional.cross_entropy(logits[:, 7:-1].flatten(0, 1), IDS[:, 8:].flatten())
    assert text_loss(logits, IDS, wanted).item() == pytest.approx(expected.item(), rel=1e-6)
    original = drawn(3, 12, 50, seed=1)
    loss = prediction_loss(logits, *lessons_from(original, 50), wanted)
    assert loss.item() == pytest.approx(divergence(original[:, 7:], logits[:, 7:]), rel=1e-4)


def test_a_window_without_an_answer_costs_nothing():
    loss = text_loss(drawn(3, 12, 50), IDS, ALL & False)
    assert loss.item() == 0


def test_with_every_token_stored_the_divergence_is_that_of_the_whole_vocabulary():
    logits, original = drawn(3, 12, 50), drawn(3, 12, 50, seed=1)
    loss = prediction_loss(logits, *lessons_from(original, 50), ALL)
    assert loss.item() == pytest.approx(divergence(original, logits), rel=1e-4)


def test_with_fewer_tokens_stored_it_is_smaller_and_still_no_less_than_nothing():
    logits, original = drawn(3, 12, 50), drawn(3, 12, 50, seed=1)
    whole = divergence(original, logits)
    parts = [prediction_loss(logits, *lessons_from(original, top), ALL).item() for top in (4, 16, 40)]
    assert parts == sorted(parts)
    assert parts[0] > 0
    assert parts[-1] <= whole + 1e-6


def test_a_model_that_predicts_what_the_original_predicts_has_nothing_to_learn():
    logits = drawn(3, 12, 50).requires_grad_()
    loss = prediction_loss(logits, *lessons_from(logits.detach(), 8), ALL)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max().item() < 1e-6


def test_states_are_compared_token_by_token_so_that_no_single_one_outweighs_all():
    states = drawn(2, 5, 8)
    states[:, 0] *= 1000  # an attention sink
    reached = states + 0.1 * drawn(2, 5, 8, seed=1)
    apart = (reached - states).square().sum(-1) / states.square().sum(-1)
    assert state_loss(reached, states).item() == pytest.approx(apart.mean().item(), rel=1e-5)
    assert apart[:, 0].max() < 1e-4 * apart[:, 1:].min()
