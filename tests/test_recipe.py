"""The recipe: what is refused, and the command line that asks for it again."""

import shlex
from dataclasses import MISSING, fields

import click
import pytest

from hf_prune.cli import cli
from hf_prune.errors import RecipeError
from hf_prune.recipe import BRIDGES, Recipe, check_recipe, command_line, option_name, parse_layers

OTHER_VALUES = {
    "revision": "refs/pr/1",
    "gguf_file": "a b.gguf",
    "ratio": 0.1,
    "drop_layers": 3,
    "layers": "1-2,5",
    "calibration": "it's.txt",
    "samples": 7,
    "sequence_length": 99,
    "seed": -1,
    "bridge": "refit",
    "eval_data": "-held.jsonl",
    "eval_samples": 5,
    "device": "cuda:1",
}


def options_of_run() -> dict[str, click.Parameter]:
    return {parameter.name: parameter for parameter in cli.commands["run"].params}


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("0", (0,)),
        ("21-28,30", (21, 22, 23, 24, 25, 26, 27, 28, 30)),
        ("5,3,3,3-4", (3, 4, 5)),
        ("7-7", (7,)),
        ("03", (3,)),
    ],
)
def test_a_list_names_layers_from_0_with_both_ends_each_once_and_in_order(text, layers):
    assert parse_layers(text) == layers


def test_refuses_a_range_that_runs_backwards_and_writes_it_forwards():
    with pytest.raises(RecipeError, match="9-5 runs backwards; write 5-9 instead"):
        parse_layers("1,9-5")


@pytest.mark.parametrize("layers", ["", "a", "1-", "-1", "1--2", "1,", ",1", "1 2", "1,,2", "1-2-3", "1\n"])
def test_refuses_what_is_not_a_list_of_layers(layers):
    with pytest.raises(RecipeError, match="is not a list like 21-28,30"):
        check_recipe(Recipe(model="m", layers=layers))


def test_says_everything_that_is_wrong_at_once():
    recipe = Recipe(
        model="m",
        ratio=1.5,
        drop_layers=0,
        layers="x",
        bridge="best",
        samples=0,
        eval_samples=0,
        sequence_length=7,
    )
    with pytest.raises(RecipeError) as caught:
        check_recipe(recipe)
    faults = str(caught.value).split("; ")
    assert [fault.split()[0] for fault in faults] == [
        "--ratio",  # and --drop-layers and --layers: one of them
        "--ratio",
        "--drop-layers",
        "--layers",
        "--bridge",
        "--samples",
        "--eval-samples",
        "--seq-len",
    ]
    assert "--ratio and --drop-layers and --layers" in faults[0]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.25, 25.0, float("nan")])
def test_refuses_a_ratio_that_is_no_share(ratio):
    with pytest.raises(RecipeError, match="not between 0 and 1"):
        check_recipe(Recipe(model="m", ratio=ratio))


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(model="m"),
        Recipe(model="m", ratio=0.001),
        Recipe(model="m", drop_layers=1, samples=1, eval_samples=1, sequence_length=8),
        Recipe(model="m", layers="0"),
        *(Recipe(model="m", bridge=bridge) for bridge in BRIDGES),
    ],
    ids=repr,
)
def test_takes_what_can_be_met(recipe):
    check_recipe(recipe)


def test_the_command_leaves_defaults_out():
    assert command_line(Recipe(model="owner/name")) == "hf-prune owner/name"
    assert command_line(Recipe(model="m", samples=64, bridge="auto", seed=0)) == "hf-prune m"


def test_the_command_can_be_pasted_into_a_shell():
    words = shlex.split(command_line(Recipe(model="my models/it's", calibration="a b.txt", layers="1-2")))
    assert words == ["hf-prune", "my models/it's", "--layers", "1-2", "--calibration", "a b.txt"]


@pytest.mark.parametrize(
    "field", [field for field in fields(Recipe) if field.name != "model"], ids=lambda field: field.name
)
def test_every_field_has_its_option_with_the_same_default(field):
    assert option_name(field.name) in options_of_run()[field.name].opts
    assert field.default is not MISSING
    assert cli.commands["run"].make_context("run", ["m"]).params[field.name] == field.default


def test_every_option_that_decides_what_is_computed_is_in_the_recipe():
    others = {"push", "repo_id", "private", "yes", "output", "fresh", "as_json", "quiet", "verbose"}
    assert set(options_of_run()) == {field.name for field in fields(Recipe)} | others


@pytest.mark.parametrize("field", OTHER_VALUES)
def test_the_command_asks_for_the_same_recipe_again(field):
    recipe = Recipe(model="owner/name", **{field: OTHER_VALUES[field]})
    words = shlex.split(command_line(recipe))[1:]
    run = cli.commands["run"]
    values = run.make_context("run", words).params
    assert Recipe(**{one.name: values[one.name] for one in fields(Recipe)}) == recipe


def test_another_value_of_every_field_is_tried():
    assert set(OTHER_VALUES) == {field.name for field in fields(Recipe)} - {"model"}
