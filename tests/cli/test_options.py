"""Every field of the recipe has its option, and every option that decides what is computed its field."""

from dataclasses import MISSING, fields

import click
import pytest

from hf_prune.cli.main import cli
from hf_prune.cli.options import Quantity
from hf_prune.recipe.recipe import OPTIONS, Recipe, option_name


def options_of_run() -> dict[str, click.Parameter]:
    return {parameter.name: parameter for parameter in cli.commands["run"].params}


@pytest.mark.parametrize(
    "field", [field for field in fields(Recipe) if field.name != "model"], ids=lambda field: field.name
)
def test_every_field_has_its_option_with_the_same_default(field):
    assert option_name(field.name) in options_of_run()[field.name].opts
    assert field.default is not MISSING
    assert cli.commands["run"].make_context("run", ["m"]).params[field.name] == field.default


def test_every_option_that_decides_what_is_computed_is_in_the_recipe():
    others = {"push", "repo_id", "private", "yes", "output", "fresh", "as_json", "quiet", "verbose"}
    others |= {"dry_run", "max_memory", "report_to", "template", "notes", "branch", "create_pr", "collection"}
    others |= {"if_changed", "flavor", "timeout", "namespace", "detach"}
    assert set(options_of_run()) == {field.name for field in fields(Recipe)} | others


def test_options_that_take_a_quantity_are_those_that_the_recipe_names():
    quantities = {name for name, each in options_of_run().items() if isinstance(each.type, Quantity)}
    assert quantities - {"max_memory"} == {name for name, option in OPTIONS.items() if option.quantity}


def test_scores_that_are_asked_for_one_by_one_are_one_list():
    words = ["m", "--eval", "a,b", "--min-score", "a=0.5", "--min-score", "b:acc=1,c=2"]
    params = cli.commands["run"].make_context("run", words).params
    assert params["min_score"] == "a=0.5,b:acc=1,c=2"


def test_every_command_that_takes_a_recipe_takes_its_options():
    for command in cli.commands.values():
        names = {parameter.name for parameter in command.params}
        if "based_on" in names:
            assert isinstance(command, click.Command)
            assert {"ratio", "method", "bridge", "heal", "lora_alpha"} <= names
