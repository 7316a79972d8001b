"""What a result must not be worse than."""

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hf_prune.errors import RecipeError
from hf_prune.recipe.gates import Gate, parse_gates, refusals
from hf_prune.recipe.recipe import Recipe
from hf_prune.records import Attempt, Perplexity
from hf_prune.records.evaluated import Evaluated
from tests.loopback import LoopbackHub
from tests.support.sample_run import sample_run, sample_score
from tests.support.tool import FEW, hf_prune

ACC = sample_score("healed", 0.41)
NORM = replace(ACC, metric="acc_norm", value=0.38)
WIKITEXT = replace(ACC, task="wikitext", metric="word_perplexity", value=40.0, higher_is_better=False)
OF_CUT = replace(ACC, variant="cut", value=0.9)


def losses(dense: float, healed: float) -> tuple[Perplexity, ...]:
    one = sample_run().evaluated.perplexities[0]
    return (
        replace(one, variant="dense", loss=dense),
        replace(one, variant="cut", loss=9.0),
        replace(one, variant="healed", loss=healed),
    )


def refused(text=None, *, max_loss=None, healed=3.0, scores=(OF_CUT, ACC, NORM, WIKITEXT), reason=None):
    recipe = Recipe(model="m", min_score=text, max_loss=max_loss)
    evaluated = Evaluated(perplexities=losses(2.5, healed), scores=Attempt(found=scores, reason=reason))
    return refusals("healed", recipe, evaluated)


def test_gates_are_read_as_people_write_them():
    assert parse_gates("arc_easy=0.45,hellaswag:acc_norm=3e-1") == (
        Gate("arc_easy", None, 0.45),
        Gate("hellaswag", "acc_norm", 0.3),
    )
    assert parse_gates(None) == ()
    assert [str(gate) for gate in parse_gates("a=0.450,b:c=1")] == ["a=0.45", "b:c=1"]


@pytest.mark.parametrize(
    "text", ["arc_easy", "arc_easy=", "=0.5", "a=b", "a:=1", "a=1,", "a=1=2", "a=1e", "a=--1"]
)
def test_refuses_what_is_no_gate(text):
    with pytest.raises(RecipeError, match="is not TASK=VALUE or TASK:METRIC=VALUE"):
        parse_gates(text)


def test_lets_through_what_is_as_good_as_asked_for():
    assert refused("arc_easy=0.41,arc_easy:acc_norm=0.38,wikitext=40", max_loss=0.5) == ()
    assert refused() == ()


def test_says_which_figure_of_the_published_variant_is_too_low():
    assert refused("arc_easy=0.45") == ("arc_easy acc 0.41 is below --min-score 0.45",)
    assert refused("arc_easy:acc_norm=0.4") == ("arc_easy acc_norm 0.38 is below --min-score 0.4",)


def test_of_a_figure_that_should_be_low_the_value_is_the_highest_let_through():
    assert refused("wikitext=39.5") == ("wikitext word_perplexity 40 is above --min-score 39.5",)


def test_shows_as_many_digits_as_tell_a_figure_from_its_limit():
    near = replace(ACC, value=0.449996)
    assert refused("arc_easy=0.45", scores=(near,)) == ("arc_easy acc 0.449996 is below --min-score 0.45",)


def test_does_not_let_through_what_was_not_measured():
    assert refused("arc_easy=0.1", scores=(OF_CUT,), reason="no room") == (
        "arc_easy was not measured for --min-score arc_easy=0.1: no room",
    )
    assert refused("arc_easy:f1=0.1") == (
        "arc_easy has no f1 for --min-score arc_easy:f1=0.1, but acc, acc_norm",
    )


def test_says_by_how_much_the_loss_rose():
    assert refused(max_loss=0.49) == (
        "the loss on held-out text is 0.5 nats per token above the original's, more than --max-loss 0.49",
    )
    assert refused(max_loss=0.5, healed=2.0) == ()


def test_says_everything_that_is_not_let_through_at_once():
    assert len(refused("arc_easy=0.45,wikitext=39,arc_easy:acc_norm=0.5", max_loss=0.1)) == 4


@pytest.mark.slow
def test_a_result_that_is_worse_than_let_through_is_kept_and_not_pushed(
    home_hub: LoopbackHub, trained_model: Path, tmp_path: Path
) -> None:
    HfApi().create_repo("tester/base")
    HfApi().upload_folder(repo_id="tester/base", folder_path=trained_model)
    home_hub.calls.clear()
    words = ("tester/base", "--layers", "2-3", "--bridge", "none", "--max-loss", "1e-9", "--push", *FEW)
    outcome = hf_prune(*words, "--output", str(tmp_path / "run"))
    model = tmp_path / "run" / "model"
    assert (outcome.code, outcome.out) == (3, f"{model}\n")
    last = outcome.err.splitlines()[-1]
    assert last.startswith("hf-prune: the loss on held-out text is ")
    assert last.endswith(f"more than --max-loss 1e-09: nothing was pushed; see {model}")
    assert (model / "README.md").is_file()
    assert ("model", "tester/base-4l") not in home_hub.repositories
    assert [call for call in home_hub.calls if call.method in ("POST", "PUT")] == []
