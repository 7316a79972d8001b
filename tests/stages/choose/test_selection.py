"""From a recipe to a plan, on tiny models whose layers are known to matter or not."""

from dataclasses import replace

import pytest

from hf_prune.errors import RecipeError
from hf_prune.machine.progress import Reporter, silent
from hf_prune.recipe.recipe import METHODS, Recipe
from hf_prune.records import LayerCount, NamedLayers, WithinLoss
from hf_prune.stages.bridge.trials import trials_of
from hf_prune.stages.choose.criteria import NEVER_PROPOSED
from hf_prune.stages.choose.selection import Selection
from hf_prune.stages.measure.ablation import Cut, try_cuts
from hf_prune.stages.measure.measurements import Measurements
from hf_prune.stages.original import locate, open_original
from tests.support.models import insert_identity_layers

FEW = {"samples": 8, "sequence_length": 32, "eval_samples": 2}


@pytest.fixture
def select(tmp_path):
    """`select(folder, removal, **options)`: the selected layers, the original, and the lines reported."""

    def get(folder, removal, **options):
        lines = []
        recipe = Recipe(model=str(folder), device="cpu", **(FEW | options))
        original = open_original(locate(recipe), tmp_path / "work")
        reporter = Reporter(tell=lines.append)
        measurements = Measurements(original, tmp_path / "cache", reporter)
        selection = Selection(original, measurements, reporter, trials_of(original, reporter.progress))
        return selection.select(measurements.similarity(), removal), original, lines

    return get


@pytest.fixture
def with_idle_layers(trained_model, tmp_path):
    """The trained model with layers 1, 4 and 6 of nine added, which do nothing."""
    return insert_identity_layers(trained_model, tmp_path / "idle", [1, 4, 6])


@pytest.mark.parametrize("bridge", ["none", "auto"])
def test_the_tournament_removes_the_layers_that_add_nothing(select, with_idle_layers, bridge):
    selected, _, lines = select(with_idle_layers, LayerCount(3), bridge=bridge)
    assert selected.plan.removed == (1, 4, 6)
    assert selected.plan.method == "auto"
    assert selected.plan.tournament.trials[0].bridged == (bridge == "auto")
    assert any(line.startswith("tournament: ") for line in lines)


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("auto", *NEVER_PROPOSED)])
def test_auto_is_no_worse_than_any_single_method_on_the_text_it_is_tried_on(select, tiny_models, method):
    folder = tiny_models("llama", num_hidden_layers=9)
    auto, original, _ = select(folder, LayerCount(2), bridge="none", method="auto", budget=100.0)
    single, _, _ = select(folder, LayerCount(2), bridge="none", method=method)
    cuts = [Cut(auto.plan.kept), Cut(single.plan.kept)]
    best, other = try_cuts(original.decoder, original.selection, cuts, silent, "")
    assert best.loss <= other.loss + 1e-9


def test_auto_hears_every_criterion_but_chance_and_what_counts_on_training(select, tiny_models):
    selected, _, _ = select(tiny_models("llama", num_hidden_layers=9), LayerCount(2), bridge="none")
    heard = {name for trial in selected.plan.tournament.trials for name in trial.proposed_by}
    assert heard - {"neighbour"} == set(METHODS) - {"auto", "random", "streamline"}


def test_named_layers_are_removed_whatever_they_cost(select, tiny_models):
    selected, _, lines = select(tiny_models("llama"), NamedLayers((0, 5)), layers="0,5")
    assert (selected.plan.removed, selected.plan.method) == ((0, 5), "named")
    assert lines == []


def test_protected_layers_stay_whatever_they_cost(select, with_idle_layers):
    selected, _, _ = select(with_idle_layers, LayerCount(3), bridge="none", protect="first:2,6")
    assert {0, 1, 6}.isdisjoint(selected.plan.removed)
    assert 4 in selected.plan.removed


def test_one_block_is_chosen_where_one_block_is_wanted(select, with_idle_layers):
    selected, _, _ = select(with_idle_layers, LayerCount(3), bridge="none", contiguous=True)
    assert len(selected.plan.blocks) == 1


def test_the_deepest_cut_within_a_loss_takes_all_weak_layers_and_no_other(select, with_idle_layers):
    selected, original, _ = select(
        with_idle_layers, WithinLoss(0.002), bridge="none", method="bi", max_loss=0.002
    )
    assert selected.plan.removed == (1, 4, 6)
    deeper, _, _ = select(with_idle_layers, WithinLoss(0.002), bridge="none", max_loss=0.002)
    assert deeper.plan.removed == (1, 4, 6)
    windows = original.selection
    whole, cut = try_cuts(
        original.decoder, windows, [Cut(tuple(range(9))), Cut(deeper.plan.kept)], silent, ""
    )
    assert cut.loss - whole.loss <= 0.002


def test_a_loss_that_no_cut_stays_within_is_refused(select, tiny_models):
    with pytest.raises(RecipeError, match="--max-loss 1e-09: removing a single layer already costs more"):
        select(tiny_models("llama"), WithinLoss(1e-9), bridge="none", method="bi", max_loss=1e-9)


def test_a_greedy_search_is_as_wide_as_the_budget_allows(select, tiny_models):
    folder = tiny_models("llama", num_hidden_layers=9)
    narrow, _, _ = select(folder, LayerCount(2), bridge="none", budget=1.0)
    wide, _, _ = select(folder, LayerCount(2), bridge="none", budget=1000.0)
    assert narrow.similarity.removal_order.width == 1
    assert wide.similarity.removal_order.width is None
    assert replace(wide.similarity, removal_order=None) == replace(narrow.similarity, removal_order=None)
