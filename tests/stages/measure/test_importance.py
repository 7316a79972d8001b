"""What single layers cost, and the greedy and Shapley searches, against loops of plain forwards."""

import itertools
import math
import random

import pytest
import torch

from hf_prune.machine.progress import silent
from hf_prune.model.decoder import open_decoder
from hf_prune.stages.measure import importance
from hf_prune.stages.measure.importance import drop_one, expand_one, greedy_removal, shapley
from tests.support.plain import plain_loss, plain_model, some_tokens, text_by, windows_of

CPU = torch.device("cpu")
TOKENS = some_tokens(4, 40)


@pytest.fixture(scope="module")
def model(tiny_models):
    """`model(family)`: the streamed decoder, and the loss of the plain model without some layers."""

    def get(family="llama"):
        folder = tiny_models(family)
        plain, known = plain_model(folder), {}

        def loss(removed=()):
            key = frozenset(removed)
            if key not in known:
                known[key] = plain_loss(plain, TOKENS, key)
            return known[key]

        return open_decoder(folder, CPU), loss

    return get


def brute_force_greedy(loss, count, candidates, width):
    """At each step tries the `width` that did best when they were last tried, then those never tried."""
    latest, order, losses = dict.fromkeys(candidates, math.inf), [], []
    for _ in range(count):
        for layer in sorted(latest, key=latest.get)[:width]:  # stable: equals as the candidates have them
            latest[layer] = loss([*order, layer])
        best = min(latest, key=latest.get)
        losses.append(latest.pop(best))
        order.append(best)
    return tuple(order), losses


def greedy(decoder, count, candidates, width=None):
    return greedy_removal(decoder, windows_of(TOKENS), count, silent, candidates=candidates, width=width)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_a_layer_costs_what_the_loss_rises_by_without_it(model, family):
    decoder, loss = model(family)
    scores = drop_one(decoder, windows_of(TOKENS), silent)
    assert scores.values == pytest.approx([loss([layer]) - loss() for layer in range(6)], abs=1e-5)
    assert (scores.criterion, scores.text) == ("loss", windows_of(TOKENS).record)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("candidates", [range(6), range(1, 5), (4, 0, 2, 1)], ids=str)
def test_a_greedy_search_removes_what_leaves_the_lowest_loss_each_time(model, family, candidates):
    decoder, loss = model(family)
    layers, losses = brute_force_greedy(loss, 4, candidates, None)
    found = greedy(decoder, 4, candidates)
    assert found.layers == layers
    assert found.losses == pytest.approx(losses, abs=1e-5)
    assert (found.width, found.text) == (None, windows_of(TOKENS).record)


@pytest.mark.parametrize("width", [1, 2, 4, 99])
@pytest.mark.parametrize("candidates", list(itertools.permutations(range(6)))[::240], ids=str)
def test_a_narrow_search_tries_the_likeliest_alone(model, width, candidates):
    decoder, loss = model()
    layers, losses = brute_force_greedy(loss, 4, candidates, width)
    found = greedy(decoder, 4, candidates, width)
    assert found.layers == layers
    assert found.losses == pytest.approx(losses, abs=1e-5)
    assert found.width == width
    if width == 1:
        assert found.layers == candidates[:4]
    if width >= 6:
        assert found.layers == greedy(decoder, 4, candidates).layers


def test_what_a_narrow_search_saves_may_cost_loss(model):
    decoder, _ = model()
    wide = greedy(decoder, 1, range(6))
    rest = [layer for layer in range(6) if layer != wide.layers[0]]
    narrow = greedy(decoder, 1, [*rest, wide.layers[0]], width=2)
    assert narrow.layers[0] in rest[:2]
    assert narrow.losses[0] > wide.losses[0]


def test_of_layers_that_add_nothing_the_lower_goes_first(with_identity_layer):
    folder = with_identity_layer([2, 4])
    tokens = text_by(plain_model(folder), 24, 32)
    found = greedy_removal(
        open_decoder(folder, CPU), windows_of(tokens), 2, silent, candidates=[4, 5, 3, 2, 1, 0]
    )
    assert found.layers == (2, 4)


def test_a_search_ends_when_no_layer_may_go_any_more(model):
    decoder, _ = model()
    found = greedy(decoder, 5, (1, 3))
    assert sorted(found.layers) == [1, 3]
    assert len(found.losses) == 2
    assert greedy(decoder, 5, (1, 3), width=1).layers == (1, 3)


def test_a_shorter_search_is_continued(model):
    decoder, _ = model()
    whole = greedy(decoder, 4, range(6))
    for count in range(1, 5):
        shorter = greedy(decoder, count, range(6))
        assert shorter.layers == whole.layers[:count]
        continued = greedy_removal(
            decoder, windows_of(TOKENS), 4, silent, candidates=range(6), previous=shorter
        )
        assert continued == whole


def brute_force_shapley(loss, permutations, seed, group_size):
    layers, shuffled, sums = list(range(6)), random.Random(seed), [0.0] * 6
    for _ in range(permutations):
        shuffled.shuffle(layers)
        for first in range(0, 6, group_size):
            gone = []
            for layer in layers[first : first + group_size]:
                sums[layer] += loss([*gone, layer]) - loss(gone)
                gone.append(layer)
    return [total / permutations for total in sums]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("permutations", "seed"), [(1, 0), (3, 0), (3, 1), (5, 7)])
def test_each_layer_is_charged_the_rise_that_its_removal_brings(model, family, permutations, seed):
    decoder, loss = model(family)
    scores = shapley(decoder, windows_of(TOKENS), permutations, seed, silent)
    expected = brute_force_shapley(loss, permutations, seed, importance.COALITION)
    assert scores.values == pytest.approx(expected, abs=1e-5)
    assert (scores.criterion, scores.text) == ("shapley", windows_of(TOKENS).record)


@pytest.mark.parametrize("group_size", [2, 3, 5])
def test_groups_of_any_size_are_charged_from_the_whole_model_on(model, monkeypatch, group_size):
    monkeypatch.setattr(importance, "COALITION", group_size)
    decoder, loss = model()
    expected = brute_force_shapley(loss, 3, 0, group_size)
    assert shapley(decoder, windows_of(TOKENS), 3, 0, silent).values == pytest.approx(expected, abs=1e-5)


def test_groups_of_one_layer_are_the_drop_one_loss(model, monkeypatch):
    monkeypatch.setattr(importance, "COALITION", 1)
    decoder, _ = model()
    windows = windows_of(TOKENS)
    alone = drop_one(decoder, windows, silent).values
    assert shapley(decoder, windows, 2, 0, silent).values == pytest.approx(alone, abs=1e-6)


def test_contributions_in_a_group_of_all_layers_add_up_to_the_loss_of_everything(model, monkeypatch):
    monkeypatch.setattr(importance, "COALITION", 6)
    decoder, loss = model()
    for seed in range(3):
        values = shapley(decoder, windows_of(TOKENS), 2, seed, silent).values
        assert sum(values) == pytest.approx(loss(range(6)) - loss(), abs=1e-5)


def test_shapley_values_are_drawn_by_the_seed(model):
    decoder, _ = model()
    windows = windows_of(TOKENS)
    first = shapley(decoder, windows, 2, 3, silent)
    assert shapley(decoder, windows, 2, 3, silent) == first
    assert shapley(decoder, windows, 2, 4, silent).values != pytest.approx(first.values, abs=1e-3)


def test_an_expanded_layer_is_run_twice_in_its_place(tiny_models):
    folder = tiny_models("llama")
    decoder, plain = open_decoder(folder, CPU), plain_model(folder)
    values = expand_one(decoder, windows_of(TOKENS), silent).values
    own = plain.model.layers
    whole = plain_loss(plain, TOKENS, frozenset())
    for layer in range(len(own)):
        plain.model.layers = torch.nn.ModuleList([*own[: layer + 1], *own[layer:]])
        plain.config.num_hidden_layers = len(own) + 1
        assert values[layer] == pytest.approx(plain_loss(plain, TOKENS, frozenset()) - whole, abs=1e-5)


def test_a_layer_that_adds_nothing_may_be_run_twice_for_nothing(with_identity_layer):
    values = expand_one(open_decoder(with_identity_layer([3]), CPU), windows_of(TOKENS), silent).values
    assert values[3] == pytest.approx(0.0, abs=1e-6)
    assert all(abs(value) > 1e-5 for layer, value in enumerate(values) if layer != 3)
