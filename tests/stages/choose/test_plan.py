"""The plan: which layers are removed and kept, and by which criterion."""

import subprocess
import sys

import pytest

from hf_prune.recipe.criteria import AUTO, CRITERIA, NAMED
from hf_prune.records import Block, Tournament
from hf_prune.records.blocks import best_blocks
from hf_prune.stages.choose.plan import plan_for
from tests.support.sample_run import sample_similarity, sample_text


@pytest.mark.parametrize(
    "removed",
    [(0,), (29,), (4, 5, 6), tuple(range(1, 30)), (0, 2, 29), (3, 4, 8, 9, 10, 20)],
    ids=str,
)
def test_what_is_kept_and_what_goes_make_up_the_model(removed):
    similarity = sample_similarity(30)
    plan = plan_for(similarity, removed, NAMED)
    assert plan.removed == removed
    assert sorted(plan.kept + plan.removed) == list(range(30))
    assert plan.kept == tuple(sorted(plan.kept))
    assert plan.num_layers == 30
    assert [layer for block in plan.blocks for layer in range(block.start, block.end)] == list(removed)
    assert plan.best_blocks == best_blocks(similarity.angular_last_token)


def test_one_block_has_the_distance_across_it():
    similarity = sample_similarity(30)
    plan = plan_for(similarity, (4, 5, 6), "angular")
    assert plan.blocks == (Block(start=4, end=7),)
    assert plan.distance == similarity.angular_last_token[4][7]


def test_scattered_layers_have_no_distance():
    plan = plan_for(sample_similarity(30), (4, 5, 9), "bi")
    assert plan.blocks == (Block(start=4, end=6), Block(start=9, end=10))
    assert plan.distance is None


@pytest.mark.parametrize("method", [*CRITERIA, AUTO, NAMED])
def test_says_in_words_who_chose(method):
    plan = plan_for(sample_similarity(6), (2,), method)
    assert plan.method == method
    said = {AUTO: "lowest loss of all cuts that were tried", NAMED: "named by the user"}
    assert plan.criterion == (said[method] if method in said else CRITERIA[method].title)


def test_every_criterion_has_words_of_its_own():
    said = [plan_for(sample_similarity(6), (2,), method).criterion for method in [*CRITERIA, AUTO, NAMED]]
    assert len(set(said)) == len(said)


def test_the_tournament_that_chose_is_kept():
    held = Tournament(text=sample_text(), original_loss=2.0, trials=(), budget=20.0, cost=7.5)
    assert plan_for(sample_similarity(6), (2,), AUTO, held).tournament == held
    assert plan_for(sample_similarity(6), (2,), "bi").tournament is None


@pytest.mark.parametrize("module", ["criteria", "plan", "target", "tournament"])
def test_choosing_needs_no_torch(module):
    code = f"import hf_prune.stages.choose.{module}, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
