"""A recipe as the words of a command line, which ask for the same recipe again."""

import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest

from hf_prune.cli.main import cli
from hf_prune.recipe.files import FIELDS
from hf_prune.recipe.recipe import OPTIONS, Recipe
from hf_prune.recipe.words import (
    LOCAL_PATHS,
    SWITCHES,
    analysis_command_line,
    command_line,
    evaluation_command_line,
    fields_of_command,
    merged_options,
    non_default_fields,
    without_folders,
)
from tests.support.recipes import OTHER_VALUES


def test_the_command_leaves_defaults_out():
    assert command_line(Recipe(model="owner/name")) == "hf-prune owner/name"
    assert command_line(Recipe(model="m", samples=64, bridge="auto", seed=0)) == "hf-prune m"


def test_the_command_can_be_pasted_into_a_shell():
    words = shlex.split(command_line(Recipe(model="my models/it's", calibration="a b.txt", layers="1-2")))
    assert words == ["hf-prune", "my models/it's", "--layers", "1-2", "--calibration", "a b.txt"]


@pytest.mark.parametrize("field", sorted(OTHER_VALUES.keys() - {"based_on"}))  # in test_recipe_files.py
def test_the_command_asks_for_the_same_recipe_again(field):
    recipe = Recipe(model="owner/name", **{field: OTHER_VALUES[field]})
    words = shlex.split(command_line(recipe))[1:]
    run = cli.commands["run"]
    values = run.make_context("run", words).params
    assert Recipe(**{one.name: values[one.name] for one in fields(Recipe)}) == recipe


def test_the_command_of_an_analysis_asks_for_the_same_analysis_again():
    values = {name: OTHER_VALUES[name] for name in fields_of_command("analyze")}
    recipe = Recipe(model="my models/it's", **values)
    words = shlex.split(analysis_command_line(recipe, 4))
    assert words[:2] == ["hf-prune", "analyze"]
    given = cli.commands["analyze"].make_context("analyze", words[2:]).params
    assert {name: given[name] for name in ("model", *values)} == {"model": recipe.model, **values}
    assert given["permutations"] == 4
    assert set(given) & {field.name for field in fields(Recipe)} == {"model", *values}


def test_the_command_of_an_evaluation_asks_for_the_same_evaluation_again():
    values = {name: OTHER_VALUES[name] for name in fields_of_command("eval")}
    recipe = Recipe(model="my models/it's", **values)
    words = shlex.split(evaluation_command_line(recipe, "a base"))
    assert words[:2] == ["hf-prune", "eval"]
    given = cli.commands["eval"].make_context("eval", words[2:]).params
    assert {name: given[name] for name in ("model", *values)} == {"model": recipe.model, **values}
    assert given["baseline"] == "a base"
    assert set(given) & {field.name for field in fields(Recipe)} == {"model", *values}


def test_the_command_of_an_analysis_leaves_out_defaults_and_what_is_said_of_cutting():
    recipe = Recipe(model="owner/name", drop_layers=3, method="bi", contiguous=True, samples=64)
    assert analysis_command_line(recipe, 0) == "hf-prune analyze owner/name"


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize("field", SWITCHES)
def test_the_command_says_yes_and_no_without_a_value(field, value):
    words = SWITCHES[field][0 if value else 1]
    assert command_line(Recipe(model="m", **{field: value})) == f"hf-prune m {words}"
    values = cli.commands["run"].make_context("run", ["m", words]).params
    assert values[field] is value


def test_a_command_states_the_fields_that_differ_from_what_holds_anyway():
    recipe = Recipe(model="m", seed=3, samples=64, draft=False, distill=False)
    names = ("seed", "samples", "rank", "draft", "distill")
    assert non_default_fields(recipe, names, {}) == {"seed": 3, "distill": False}
    others = {"seed": 3, "samples": 8, "rank": 8, "draft": True}
    assert non_default_fields(recipe, names, others) == {"samples": 64, "distill": False}


def test_a_loss_that_limits_a_size_goes_on_to_limit_another_and_by_itself_replaces_the_size():
    file = {"ratio": 0.25, "max_loss": 0.3}
    assert merged_options(file, {"drop_layers": 3}) == {"drop_layers": 3, "max_loss": 0.3}
    assert merged_options(file, {"max_loss": 0.1}) == {"max_loss": 0.1}
    assert merged_options({"max_loss": 0.3}, {"ratio": 0.5}) == {"ratio": 0.5}
    assert merged_options({"ratio": 0.25}, {"ratio": 0.5, "max_loss": 0.1}) == {"ratio": 0.5, "max_loss": 0.1}


def test_what_only_goes_with_an_option_that_is_changed_is_left_out():
    assert merged_options({"prompts": "p", "heal_data": "self"}, {"heal_data": "t"}) == {"heal_data": "t"}
    needed = {option.needs for option in OPTIONS.values() if option.needs}
    assert needed <= set(FIELDS.values())


def test_a_published_recipe_names_local_files_without_their_folders(tmp_path: Path):
    file = tmp_path / "text.txt"
    file.write_text("text")
    recipe = Recipe(model=str(tmp_path), **dict.fromkeys(LOCAL_PATHS, str(file)))
    assert without_folders(recipe) == replace(
        recipe, model=tmp_path.name, **dict.fromkeys(LOCAL_PATHS, "text.txt")
    )
    assert without_folders(Recipe(model="acme/base", heal_data="self")) == Recipe(
        model="acme/base", heal_data="self"
    )
