"""The tournament on made-up losses: who stays, who leaves, who wins, and what it says it cost."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from hf_prune.records import CutLosses
from hf_prune.stages.choose.tournament import (
    Field,
    bridging_layers_run,
    hold,
    layers_run,
    neighbours,
)
from tests.support.sample_run import sample_text

LAYERS, WINDOWS = 10, 16


def losses_of(cut, worth, difficulty, noise):
    """Each window's loss: its own difficulty, what the missing layers were worth, and chance."""
    drawn = random.Random(repr((cut, noise)))
    return [
        3 + easy + sum(worth[layer] for layer in cut) + (noise * drawn.gauss(0, 1) if cut else 0)
        for easy in difficulty
    ]


class Text:
    """Answers like a model would, and notes what it was asked."""

    def __init__(self, worth, noise=0.0, seed=0):
        drawn = random.Random(seed)
        self.worth, self.noise = worth, noise
        self.difficulty = [drawn.uniform(-0.5, 0.5) for _ in range(WINDOWS)]
        self.asked = []

    def __call__(self, cuts, first, end):
        self.asked.append((tuple(cuts), first, end))
        whole = [losses_of(cut, self.worth, self.difficulty, self.noise) for cut in cuts]
        return [CutLosses(losses=tuple(w[first:end]), divergences=tuple(w[first:end])) for w in whole]

    def total(self, cut):
        return sum(losses_of(cut, self.worth, self.difficulty, self.noise))

    def windows_of(self, cut):
        return sum(end - first for cuts, first, end in self.asked if cut in cuts)


def field_of(proposals, worth, **settings):
    text = replace(sample_text(num_sequences=WINDOWS), sequence_length=512)
    defaults = {
        "num_layers": LAYERS,
        "proposals": {cut: names for names, cut in proposals.items()},
        "allowed": tuple(range(LAYERS)),
        "contiguous": None,
        "layer_scores": worth,
        "text": text,
        "budget": 10.0,
        "pass_tokens": 64 * 512,
        "bridge_tokens": 0,
    }
    return Field(**(defaults | settings))


WORTH = [5.0, 2.0, 0.3, 0.1, 0.2, 0.15, 0.4, 0.25, 1.0, 3.0]
PROPOSALS = {("angular", "cosine"): (2, 3, 4), ("bi",): (3, 5, 7), ("reverse",): (7, 8, 9)}


def test_the_search_finds_the_best_cut_from_any_proposal():
    text = Text(WORTH)
    held = hold(field_of(PROPOSALS, WORTH), text)
    assert held.trials[0].removed == (3, 4, 5)
    assert held.trials[0].proposed_by == ("neighbour",)
    assert held.original_loss == pytest.approx(text.total(()) / WINDOWS)
    assert held.trials[0].loss == pytest.approx(text.total((3, 4, 5)) / WINDOWS)


@pytest.mark.parametrize("seed", range(60))
def test_the_winner_is_never_worse_on_the_whole_text_than_the_best_proposal(seed):
    drawn = random.Random(seed)
    worth = [drawn.expovariate(2) for _ in range(LAYERS)]
    cuts = {tuple(sorted(drawn.sample(range(LAYERS), 3))) for _ in range(6)}
    proposals = {(f"criterion {n}",): cut for n, cut in enumerate(sorted(cuts))}
    text = Text(worth, noise=0.4, seed=seed)
    held = hold(field_of(proposals, worth, budget=drawn.choice([0.1, 2.0, 50.0])), text)
    best = min(text.total(cut) for cut in cuts)
    assert text.total(held.trials[0].removed) <= best + 1e-9


def test_losers_leave_early_and_the_winner_reads_everything():
    text = Text(WORTH)
    held = hold(field_of(PROPOSALS, WORTH), text)
    assert held.trials[0].num_tokens == WINDOWS * 512
    assert text.windows_of((7, 8, 9)) == WINDOWS // 2  # lost more on half of it than the winner on all
    read = sorted({trial.num_tokens // 512 for trial in held.trials})
    assert read[0] == WINDOWS // 4
    few = sum(trial.num_tokens == read[0] * 512 for trial in held.trials)
    assert few >= len(held.trials) // 3


def test_no_window_is_read_twice_by_a_cut():
    text = Text(WORTH, noise=0.1)
    held = hold(field_of(PROPOSALS, WORTH), text)
    for trial in held.trials:
        parts = sorted((first, end) for cuts, first, end in text.asked if trial.removed in cuts)
        assert parts[0][0] == 0
        assert all(one[1] == other[0] for one, other in pairwise(parts))


def test_a_small_budget_leaves_out_the_search_and_still_compares_the_proposals():
    text = Text(WORTH)
    held = hold(field_of(PROPOSALS, WORTH, budget=0.01), text)
    beside = {(1, 2, 3), (3, 4, 5), (0, 1, 2), (4, 5, 6), (6, 7, 8), (5, 6, 7)}
    assert {trial.removed for trial in held.trials} == {*PROPOSALS.values(), *beside}
    assert held.trials[0].removed == (3, 4, 5)


def test_the_cost_is_what_was_run():
    text = Text(WORTH)
    held = hold(field_of(PROPOSALS, WORTH, spent=1.5), text)
    work = 0
    for cuts, first, end in text.asked:
        kept = [tuple(n for n in range(LAYERS) if n not in cut) for cut in cuts]
        work += layers_run(kept, LAYERS) * (end - first) * 512
    assert held.cost == pytest.approx(1.5 + work / (LAYERS * 64 * 512))
    assert held.cost <= held.budget


def test_bridges_count_once_for_each_cut():
    text = Text(WORTH)
    without = hold(field_of(PROPOSALS, WORTH, budget=0.01), text)
    with_bridges = hold(field_of(PROPOSALS, WORTH, budget=0.01, bridge_tokens=8192), Text(WORTH))
    cuts = [trial.removed for trial in without.trials]
    extra = bridging_layers_run(cuts) * 8192 / (LAYERS * 64 * 512)
    assert with_bridges.cost == pytest.approx(without.cost + extra)
    assert all(trial.bridged for trial in with_bridges.trials)


def test_behind_is_the_difference_on_the_windows_that_both_have_read():
    text = Text(WORTH, noise=0.2)
    held = hold(field_of(PROPOSALS, WORTH), text)
    best = losses_of(held.trials[0].removed, WORTH, text.difficulty, 0.2)
    for trial in held.trials[1:]:
        own = losses_of(trial.removed, WORTH, text.difficulty, 0.2)[: trial.num_tokens // 512]
        apart = [a - b for a, b in zip(own, best, strict=False)]
        mean = sum(apart) / len(apart)
        variance = sum((a - mean) ** 2 for a in apart) / (len(apart) - 1)
        assert trial.behind == pytest.approx(mean)
        assert trial.behind_stderr == pytest.approx((variance / len(apart)) ** 0.5)


def test_neighbours_of_a_block_begin_with_the_blocks_beside_it():
    near = neighbours((4, 5, 6), field_of(PROPOSALS, WORTH))
    assert near[:4] == [(3, 4, 5), (5, 6, 7), (2, 3, 4), (6, 7, 8)]
    assert all(len(cut) == 3 for cut in near)
    assert len(near) == len(set(near))


def test_only_blocks_are_searched_where_one_block_is_wanted():
    near = neighbours((4, 5, 6), field_of(PROPOSALS, WORTH, contiguous=True))
    assert near == [(3, 4, 5), (5, 6, 7), (2, 3, 4), (6, 7, 8)]


def test_protected_layers_are_no_neighbours():
    field = field_of(PROPOSALS, WORTH, allowed=(2, 4, 5, 6, 7))
    assert {layer for cut in neighbours((4, 5, 6), field) for layer in cut} == {2, 4, 5, 6, 7}


@pytest.mark.parametrize(("windows", "first"), [(1, 1), (2, 1), (3, 1)])
def test_a_few_windows_are_enough(windows, first):
    text = Text(WORTH)
    text.difficulty = text.difficulty[:windows]
    small = replace(sample_text(num_sequences=windows), sequence_length=512)
    held = hold(field_of(PROPOSALS, WORTH, text=small), text)
    assert held.trials[0].removed == (3, 4, 5)
    assert held.trials[0].num_tokens == windows * 512
    assert text.asked[0][2] == first


def test_what_cuts_share_is_counted_once():
    assert layers_run([(0, 1, 2, 3)], 4) == 4  # the model itself
    assert layers_run([(0, 1, 3)], 4) == 5
    assert layers_run([(0, 1, 3), (0, 2, 3), (1, 2, 3)], 4) == 4 + 1 + 2 + 3
