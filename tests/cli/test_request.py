"""What a command line asks for: the user's options win over a recipe file, and this over defaults."""

from pathlib import Path

import pytest

from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.recipe import TARGETS
from tests.support.recipes import requested
from tests.support.tool import hf_prune


def test_the_users_options_win_over_the_recipes_and_these_over_the_defaults():
    recipe = requested(["m", "--recipe", "gromov", "--rank", "8", "--samples", "7"])
    assert (recipe.rank, recipe.samples, recipe.heal, recipe.seed) == (8, 7, "qlora", 0)
    assert recipe.based_on == "gromov"
    assert requested(["m"]).based_on is None


def test_a_default_that_the_user_gives_wins_too():
    assert requested(["m", "--recipe", "gromov", "--bridge", "auto"]).bridge == "auto"
    assert requested(["m", "--recipe", "gromov", "--distill"]).distill is True


@pytest.mark.parametrize(
    ("words", "target"),
    [
        (["--drop-layers", "3"], ("drop_layers", 3)),
        (["--layers", "1-2"], ("layers", "1-2")),
        (["--target-params", "1M"], ("target_params", 1_000_000)),
        (["--ratio", "0.5"], ("ratio", 0.5)),
    ],
)
def test_a_target_that_the_user_gives_replaces_the_recipes(words, target):
    recipe = requested(["m", "--recipe", "gromov", *words])
    assert {name: getattr(recipe, name) for name in TARGETS if getattr(recipe, name)} == dict([target])
    check_recipe(recipe)


def test_two_targets_of_the_user_are_still_one_too_many():
    outcome = hf_prune("m", "--recipe", "gromov", "--drop-layers", "3", "--ratio", "0.5")
    assert "--ratio and --drop-layers each say what to remove" in outcome.error()


def test_what_goes_only_with_an_option_that_the_user_changes_is_left_out():
    recipe = requested(["m", "--recipe", "reassessing", "--heal", "none"])
    assert (recipe.heal, recipe.train_head) == ("none", None)
    check_recipe(recipe)
    assert requested(["m", "--recipe", "reassessing", "--heal", "partial"]).train_head is True


def test_the_demo_follows_a_recipe_before_its_own_defaults(monkeypatch):
    monkeypatch.setattr("hf_prune.stages.source.demo.demo_model", lambda: (Path("d"), "d.gguf"))
    assert [getattr(requested([], "demo"), n) for n in ("drop_layers", "budget", "bridge")] == [
        6,
        4.0,
        "relay",
    ]
    recipe = requested(["--recipe", "shortgpt"], "demo")
    assert (recipe.drop_layers, recipe.ratio, recipe.bridge, recipe.budget) == (None, 0.25, "none", 4.0)
    assert requested(["--recipe", "shortgpt", "--bridge", "scale"], "demo").bridge == "scale"
    assert requested(["--ratio", "0.5"], "demo").drop_layers is None


def test_a_file_is_followed_as_a_recipe_of_a_paper_is(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("options: {drop-layers: 2, method: bi}")
    recipe = requested(["m", "--recipe", str(path), "--method", "cosine"])
    assert (recipe.drop_layers, recipe.method, recipe.based_on) == (2, "cosine", "mine.yaml")
