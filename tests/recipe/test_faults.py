"""Recipes that cannot be followed, and those that can."""

import pytest

from hf_prune.errors import RecipeError
from hf_prune.recipe.faults import check_recipe
from hf_prune.recipe.recipe import (
    BRIDGES,
    HEAL_TARGETS,
    HEALS,
    METHODS,
    SIZES,
    TARGETS,
    Recipe,
    option_name,
)
from tests.support.recipes import OTHER_VALUES


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
        "--protect",
        "--budget",
        "--lr",
        "--boundary-loss",
        "--prompts",
        "--train-head",
        "--limit",  # and the next: for the tasks of --eval
        "--fewshot",
        "--tasks-from",
        "--min-score",
        "--target-params",  # from here in the order of the fields
        "--target-memory",
        "--context-length",
        "--method",
        "--samples",
        "--seq-len",
        "--bridge",
        "--heal",
        "--heal-tokens",
        "--rank",
        "--lora-alpha",
        "--heal-targets",
        "--last-layers",
        "--heal-batch",
        "--eval-samples",
        "--choice-items",
        "--limit",
        "--fewshot",
        "--min-score",
    ]
    assert " and ".join(map(option_name, SIZES)) in faults[0]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("layers", ["", "a", "1-", "-1", "1--2", "1,", ",1", "1 2", "1,,2", "1-2-3", "1\n"])
def test_refuses_what_is_not_a_list_of_layers(layers):
    with pytest.raises(RecipeError, match="is not a list like 21-28,30"):
        check_recipe(Recipe(model="m", layers=layers))


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
        ({"method": "named"}, "--method 'named' is not one of auto, angular, .*, random$"),
        ({"method": "greedy", "contiguous": True}, "greedy removes layers one at a time, not one block"),
        ({"heal": "dora"}, "--heal 'dora' is not one of auto, none, lora, qlora, partial, replace$"),
        ({"heal_targets": "attn"}, "--heal-targets 'attn' is not one of all, ffn$"),
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
        ({"formats": "onnx,awq"}, "--format 'awq' is not one of safetensors, onnx, onnx-8bit, gguf$"),
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
