"""The recipe: what is refused, and the command line that asks for it again."""

import shlex
from dataclasses import MISSING, fields

import click
import pytest

from hf_prune.cli.main import cli
from hf_prune.errors import RecipeError
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.parse import parse_layers, parse_protected, parse_quantity
from hf_prune.recipe.recipe import BRIDGES, HEAL_TARGETS, HEALS, METHODS, SIZES, TARGETS, Recipe
from hf_prune.recipe.words import (
    ANALYSED,
    EVALUATED,
    SWITCHES,
    analysis_command_line,
    command_line,
    evaluation_command_line,
    option_name,
)

OTHER_VALUES = {
    "revision": "refs/pr/1",
    "gguf_file": "a b.gguf",
    "allow_pickle": True,
    "trust_remote_code": True,
    "ratio": 0.1,
    "drop_layers": 3,
    "layers": "1-2,5",
    "target_params": 5_000_000_000,
    "target_memory": 8 * 2**30,
    "context_length": 99_999,
    "max_loss": 0.05,
    "method": "taylor+",
    "protect": "first:4,last:2,11",
    "contiguous": False,
    "budget": 7.5,
    "calibration": "it's.txt",
    "samples": 7,
    "sequence_length": 99,
    "seed": -1,
    "bridge": "refit",
    "heal": "partial",
    "heal_data": "self",
    "prompts": "my prompts.jsonl",
    "heal_tokens": 300_000,
    "lr": 3e-5,
    "rank": 8,
    "lora_alpha": 16,
    "heal_targets": "ffn",
    "last_layers": 2,
    "train_head": False,
    "heal_batch": 4,
    "distill": False,
    "boundary_loss": 0.5,
    "eval_data": "-held.jsonl",
    "eval_elsewhere": "else where.txt",
    "eval_samples": 5,
    "choices": "it's.jsonl.gz",
    "choice_items": 0,
    "draft": True,
    "tasks": "arc_easy,gsm8k",
    "limit": 50,
    "fewshot": 0,
    "tasks_from": "my tasks",
    "min_score": "arc_easy=0.45,gsm8k:exact_match=0.1",
    "grow": "auto",
    "depths": "2,4",
    "sample_depths": True,
    "formats": "onnx,gguf",
    "max_shard_size": 2_000_000_000,
    "device": "cuda:1",
    "based_on": "gromov",
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
        target_params=0,
        target_memory=-1,
        context_length=0,
        max_loss=0.0,
        method="best",
        protect="middle:2",
        budget=0.0,
        bridge="best",
        heal="best",
        prompts="p.jsonl",
        heal_tokens=0,
        lr=0.0,
        rank=0,
        lora_alpha=0,
        heal_targets="attention",
        last_layers=0,
        train_head=True,
        heal_batch=0,
        boundary_loss=-1.0,
        samples=0,
        eval_samples=0,
        choice_items=-1,
        sequence_length=7,
        tasks="none",
        limit=0,
        fewshot=-1,
        tasks_from="tasks",
        min_score="arc_easy",
    )
    with pytest.raises(RecipeError) as caught:
        check_recipe(recipe)
    faults = str(caught.value).split("; ")
    assert [fault.split()[0] for fault in faults] == [
        "--ratio",  # and --drop-layers and --layers: one of them
        "--ratio",
        "--drop-layers",
        "--layers",
        "--max-loss",
        "--method",
        "--protect",
        "--budget",
        "--bridge",
        "--heal",
        "--heal-targets",
        "--lr",
        "--boundary-loss",
        "--prompts",
        "--train-head",
        "--min-score",
        "--limit",  # and the next: for the tasks of --eval
        "--fewshot",
        "--tasks-from",
        "--min-score",
        "--samples",
        "--eval-samples",
        "--choice-items",
        "--seq-len",
        "--heal-tokens",
        "--rank",
        "--lora-alpha",
        "--last-layers",
        "--heal-batch",
        "--limit",
        "--fewshot",
        "--context-length",
        "--target-params",
        "--target-memory",
    ]
    assert " and ".join(map(option_name, SIZES)) in faults[0]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.25, 25.0, float("nan")])
def test_refuses_a_ratio_that_is_no_share(ratio):
    with pytest.raises(RecipeError, match="not between 0 and 1"):
        check_recipe(Recipe(model="m", ratio=ratio))


@pytest.mark.parametrize("one", SIZES)
@pytest.mark.parametrize("other", SIZES)
def test_refuses_two_words_on_what_to_remove(one, other):
    recipe = Recipe(model="m", **{target: OTHER_VALUES[target] for target in {one, other}})
    if one == other:
        check_recipe(recipe)
        return
    first, second = (option_name(target) for target in SIZES if target in (one, other))
    with pytest.raises(
        RecipeError, match=f"^{first} and {second} each say what to remove: give one of them$"
    ):
        check_recipe(recipe)


@pytest.mark.parametrize("size", SIZES)
def test_beside_a_size_the_loss_is_a_limit_and_decides_nothing(size):
    recipe = Recipe(model="m", max_loss=0.3, **{size: OTHER_VALUES[size]})
    check_recipe(recipe)
    assert not recipe.is_sized_by_loss
    assert Recipe(model="m", max_loss=0.3).is_sized_by_loss


@pytest.mark.parametrize("tasks", ["", "arc_easy,", ",arc_easy", "arc_easy, gsm8k", "arc easy"])
def test_refuses_what_is_not_a_list_of_tasks(tasks):
    with pytest.raises(RecipeError, match="is not a list of tasks like arc_easy,gsm8k, nor none"):
        check_recipe(Recipe(model="m", tasks=tasks))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"max_loss": 0.0}, "--max-loss 0 is not a rise in loss: 0.05 allows 0.05 nats"),
        ({"max_loss": -0.1}, "--max-loss -0.1 is not a rise in loss"),
        ({"max_loss": float("inf")}, "--max-loss inf is not a rise in loss"),
        ({"max_loss": float("nan")}, "--max-loss nan is not a rise in loss"),
        ({"budget": 0.0}, "--budget 0 is not a number of forward passes above 0"),
        ({"budget": float("inf")}, "--budget inf is not a number"),
        ({"budget": float("nan")}, "--budget nan is not a number"),
        ({"method": "named"}, "--method 'named' is none of auto, angular, .*, random$"),
        ({"method": "greedy", "contiguous": True}, "greedy removes layers one at a time, not one block"),
        ({"heal": "dora"}, "--heal 'dora' is none of auto, none, lora, qlora, partial, replace$"),
        ({"heal_targets": "attn"}, "--heal-targets 'attn' is none of all, ffn$"),
        ({"lr": 0.0}, "--lr 0 is not a learning rate: 3e-4 is one"),
        ({"lr": 1.0}, "--lr 1 is not a learning rate"),
        ({"lr": float("nan")}, "--lr nan is not a learning rate"),
        ({"boundary_loss": -0.5}, "--boundary-loss -0.5 is not a weight: 0 leaves it out"),
        ({"boundary_loss": float("inf")}, "--boundary-loss inf is not a weight"),
        ({"boundary_loss": float("nan")}, "--boundary-loss nan is not a weight"),
        ({"prompts": "p.jsonl"}, "--prompts is for --heal-data self, where the original model answers them"),
        ({"prompts": "p.jsonl", "heal_data": "p.txt"}, "--prompts is for --heal-data self"),
        ({"train_head": True}, "--train-head and --keep-head are for --heal partial"),
        ({"train_head": False, "heal": "lora"}, "--train-head and --keep-head are for --heal partial"),
        ({"draft": True, "drop_layers": 0, "grow": "4"}, "--draft is for a result with fewer layers"),
        ({"draft": True, "drop_layers": 0, "heal": "lora"}, "--draft is for a result with fewer layers"),
        ({"heal_tokens": 0}, "--heal-tokens 0 is too small: give 1 or more"),
        ({"lora_alpha": 0}, "--lora-alpha 0 is too small: give 1 or more"),
        ({"rank": 0}, "--rank 0 is too small: give 1 or more"),
        ({"last_layers": 0}, "--last-layers 0 is too small: give 1 or more"),
        ({"heal_batch": 0}, "--heal-batch 0 is too small: give 1 or more"),
        ({"context_length": 0}, "--context-length 0 is too small: give 1 or more"),
        ({"target_params": 0}, "--target-params 0 is too small: give 1 or more"),
        ({"formats": "onnx,awq"}, "--format 'awq' is none of safetensors, onnx, onnx-8bit, gguf$"),
        ({"max_shard_size": 0}, "--max-shard-size 0 is too small: give 1 or more"),
        ({"target_memory": 0}, "--target-memory 0 is too small: give 1 or more"),
    ],
    ids=repr,
)
def test_refuses_a_choice_that_makes_no_sense(options, told):
    with pytest.raises(RecipeError, match=told) as caught:
        check_recipe(Recipe(model="m", **options))
    assert "; " not in str(caught.value)


@pytest.mark.parametrize(
    "protect", ["", "x", "first", "first:", "first:-1", "middle:2", "1,", "1 2", "last:2-3"]
)
def test_refuses_what_is_not_a_list_of_protected_layers(protect):
    with pytest.raises(RecipeError, match=r"--protect .* is not a list like first:4,last:2,11"):
        check_recipe(Recipe(model="m", protect=protect))


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        (None, ()),
        ("first:4", (0, 1, 2, 3)),
        ("last:2", (28, 29)),
        ("first:4,last:2,11", (0, 1, 2, 3, 11, 28, 29)),
        ("7-9,8,first:1", (0, 7, 8, 9)),
        ("first:0,last:0", ()),
        ("first:99", tuple(range(30))),
        ("last:99", tuple(range(30))),
        ("29", (29,)),
    ],
)
def test_a_list_protects_layers_from_both_ends_and_by_number(text, layers):
    assert parse_protected(text, 30) == frozenset(layers)


def test_refuses_to_protect_a_layer_that_is_not_there_or_backwards():
    with pytest.raises(RecipeError, match="--protect 2,30: the model has 30 layers, 0 to 29"):
        parse_protected("2,30", 30)
    with pytest.raises(RecipeError, match="--protect 9-5: 9-5 runs backwards; write 5-9 instead"):
        parse_protected("first:1,9-5", 30)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5B", 5_000_000_000),
        ("5b", 5_000_000_000),
        ("120M", 120_000_000),
        ("1.5e9", 1_500_000_000),
        ("1.2e3M", 1_200_000_000),
        ("8GB", 8_000_000_000),
        ("8G", 8_000_000_000),
        ("8GiB", 8 * 2**30),
        ("8Gi", 8 * 2**30),
        ("0.5 TiB", 2**39),
        ("1.5TB", 1_500_000_000_000),
        ("64 kB", 64_000),
        ("1KiB", 1024),
        ("16MiB", 16 * 2**20),
        (" 7 ", 7),
        ("7.", 7),
        ("123456789012345", 123_456_789_012_345),
    ],
)
def test_a_quantity_is_read_as_people_write_it(text, number):
    assert parse_quantity(text) == number
    assert isinstance(parse_quantity(text), int)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "B", "GB", "five", "-5B", "+5B", ".5B", "5 6", "5,5B", "1e", "e9", "nan", "inf", "0x10"),
        *("5BB", "5X", "5iB", "5GBs", "5B\nB", "1e999", "1e308B"),
    ],
)
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match=r"is not a quantity like 5B or 8GB"):
        parse_quantity(text)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(model="m"),
        Recipe(model="m", ratio=0.001),
        Recipe(model="m", drop_layers=1, samples=1, eval_samples=1, sequence_length=8),
        Recipe(model="m", layers="0"),
        *(Recipe(model="m", bridge=bridge) for bridge in BRIDGES),
        *(Recipe(model="m", method=method) for method in METHODS),
        *(Recipe(model="m", **{target: OTHER_VALUES[target]}) for target in TARGETS),
        Recipe(model="m", target_params=1, context_length=1, budget=1e-9),
        Recipe(model="m", protect="0,first:0,last:99,3-5"),
        *(Recipe(model="m", contiguous=contiguous, method="bi") for contiguous in (True, False)),
        Recipe(model="m", contiguous=False, method="greedy"),
        *(Recipe(model="m", heal=heal) for heal in HEALS),
        *(Recipe(model="m", heal_targets=targets) for targets in HEAL_TARGETS),
        *(Recipe(model="m", heal="partial", train_head=train_head) for train_head in (True, False)),
        Recipe(model="m", heal_tokens=1, lr=1e-9, rank=1, last_layers=1, heal_batch=1, boundary_loss=99.0),
        Recipe(model="m", heal_data="self", prompts="p.jsonl", distill=False),
        Recipe(model="m", draft=True, drop_layers=0, depths="2,4"),
        Recipe(model="m", draft=True, drop_layers=8, grow="4"),
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
    others |= {"dry_run", "max_memory", "report_to", "template", "notes", "branch", "create_pr", "collection"}
    others |= {"if_changed", "flavor", "timeout", "namespace", "detach"}
    assert set(options_of_run()) == {field.name for field in fields(Recipe)} | others


@pytest.mark.parametrize("field", sorted(OTHER_VALUES.keys() - {"based_on"}))  # in test_recipe_files.py
def test_the_command_asks_for_the_same_recipe_again(field):
    recipe = Recipe(model="owner/name", **{field: OTHER_VALUES[field]})
    words = shlex.split(command_line(recipe))[1:]
    run = cli.commands["run"]
    values = run.make_context("run", words).params
    assert Recipe(**{one.name: values[one.name] for one in fields(Recipe)}) == recipe


def test_the_command_of_an_analysis_asks_for_the_same_analysis_again():
    values = {name: OTHER_VALUES[name] for name in ANALYSED}
    recipe = Recipe(model="my models/it's", **values)
    words = shlex.split(analysis_command_line(recipe, 4))
    assert words[:2] == ["hf-prune", "analyze"]
    given = cli.commands["analyze"].make_context("analyze", words[2:]).params
    assert {name: given[name] for name in ("model", *values)} == {"model": recipe.model, **values}
    assert given["permutations"] == 4
    assert set(given) & {field.name for field in fields(Recipe)} == {"model", *ANALYSED}


def test_the_command_of_an_evaluation_asks_for_the_same_evaluation_again():
    values = {name: OTHER_VALUES[name] for name in EVALUATED}
    recipe = Recipe(model="my models/it's", **values)
    words = shlex.split(evaluation_command_line(recipe, "a base"))
    assert words[:2] == ["hf-prune", "eval"]
    given = cli.commands["eval"].make_context("eval", words[2:]).params
    assert {name: given[name] for name in ("model", *values)} == {"model": recipe.model, **values}
    assert given["baseline"] == "a base"
    assert set(given) & {field.name for field in fields(Recipe)} == {"model", *EVALUATED}


def test_scores_that_are_asked_for_one_by_one_are_one_list():
    words = ["m", "--eval", "a,b", "--min-score", "a=0.5", "--min-score", "b:acc=1,c=2"]
    params = cli.commands["run"].make_context("run", words).params
    assert params["min_score"] == "a=0.5,b:acc=1,c=2"


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


def test_every_field_that_is_yes_no_or_left_open_has_both_its_words():
    assert set(SWITCHES) == {field.name for field in fields(Recipe) if field.type == bool | None}


def test_another_value_of_every_field_is_tried():
    assert set(OTHER_VALUES) == {field.name for field in fields(Recipe)} - {"model"}
