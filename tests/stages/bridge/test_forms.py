"""What becomes of a weight in each form, against the formula computed at once from a plain model's states."""

import pytest
import torch

from hf_prune.stages.bridge import forms
from hf_prune.stages.bridge.forms import FORMS, TRIAL
from tests.support.cuts import TOKENS, build, without
from tests.support.plain import boundaries, plain_model

NAME = "model.layers.2.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def seen(tiny_models):
    """Of layers 3-4 removed: the weight before the gap, its inputs, and what is missing after it."""
    model = plain_model(tiny_models("llama"))
    projection, inner = model.model.layers[2].mlp.down_proj, []
    handle = projection.register_forward_pre_hook(lambda _, inputs: inner.append(inputs[0]))
    states = boundaries(model, TOKENS)
    handle.remove()
    missing = (states[5] - states[3]).detach().double()
    return projection.weight.detach().double(), inner[0].detach().double(), missing


def ridge_solution(inner, missing, ridge):
    ordinary = inner[:, 1:].flatten(0, 1)
    gram = inner.flatten(0, 1).T @ inner.flatten(0, 1)
    penalty = ridge * ordinary.square().sum(0).mean() * torch.eye(len(gram))
    return torch.linalg.solve(gram + penalty, inner.flatten(0, 1).T @ missing.flatten(0, 1)).T


def new_weight(tiny_models, form):
    _, bridge, solved = build(tiny_models("llama"), without(3, 4), form)
    return bridge.folded[0], solved[NAME].double()


def test_lstsq_is_replace_mes_map_of_the_projections_output(tiny_models, seen):
    weight, inner, missing = seen
    output = (inner @ weight.T).flatten(0, 1)
    mapping = torch.linalg.lstsq(output, output + missing.flatten(0, 1)).solution.T
    folded, new = new_weight(tiny_models, FORMS["lstsq"])
    torch.testing.assert_close(new, mapping @ weight, rtol=0, atol=1e-4)
    assert folded.ridge is None


def test_cosine_is_replace_mes_map_by_adam(tiny_models, seen):
    weight, inner, missing = seen
    output = (inner @ weight.T).flatten(0, 1)
    mapping = torch.eye(32, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([mapping], lr=1e-4)
    for _ in range(10):  # epochs; all tokens fill one batch of 1024
        produced, wanted = output @ mapping.T, output + missing.flatten(0, 1)
        cosines = (produced * wanted).sum(-1) / (produced.norm(dim=-1) * wanted.norm(dim=-1))
        adam.zero_grad()
        (1 - cosines).mean().backward()
        adam.step()
    _, new = new_weight(tiny_models, FORMS["cosine"])
    moved = (mapping.detach() @ weight - weight).abs().max()
    assert moved > 1e-4
    torch.testing.assert_close(new, mapping.detach() @ weight, rtol=0, atol=0.02 * moved.item())


def test_refit_takes_the_ridge_that_leaves_least_on_the_windows_set_aside(tiny_models, seen):
    weight, inner, missing = seen
    aside = torch.arange(24) % 8 == 7
    left = {}
    for ridge in forms.RIDGES:
        correction = ridge_solution(inner[~aside], missing[~aside], ridge)
        left[ridge] = (missing - inner @ correction.T)[aside][:, 1:].square().sum().item()
    best = min(left, key=left.__getitem__)
    assert best != forms.RIDGES[0]  # an overfitted one is there to be turned down
    folded, new = new_weight(tiny_models, FORMS["refit"])
    assert folded.ridge == best
    expected = weight + ridge_solution(inner, missing, best)
    torch.testing.assert_close(new, expected, rtol=0, atol=1e-4)


def test_a_trial_has_the_same_solution_with_a_fixed_ridge(tiny_models, seen):
    weight, inner, missing = seen
    folded, new = new_weight(tiny_models, TRIAL)
    assert folded.ridge == forms.RIDGE
    expected = weight + ridge_solution(inner, missing, forms.RIDGE)
    torch.testing.assert_close(new, expected, rtol=0, atol=1e-4)
