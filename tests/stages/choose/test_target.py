"""How many layers go: rounding, sizes that are to be reached, and requests that cannot be met."""

import itertools
from dataclasses import replace

import pytest

from hf_prune.errors import RecipeError
from hf_prune.recipe.recipe import METHODS, Recipe
from hf_prune.records import LayerCount, NamedLayers, WithinLoss
from hf_prune.stages.choose.target import layers_to_remove, memory_needed
from tests.support.sample_run import sample_anatomy

UNEQUAL = (900, 300, 500, 700, 100, 300, 400, 800)  # parameters of eight layers
OTHERS = 1000  # outside the layers
CACHE = 80  # bytes a token


def unequal():
    parameters = OTHERS + sum(UNEQUAL)
    return replace(
        sample_anatomy(8),
        parameters=parameters,
        parameters_per_layer=UNEQUAL,
        size_bytes=2 * parameters,
        key_value_bytes_per_token=CACHE,
    )


def parameters_without(layers):
    return OTHERS + sum(size for layer, size in enumerate(UNEQUAL) if layer not in layers)


def bytes_without(layers, context_length):
    return 2 * parameters_without(layers) + CACHE // 8 * (8 - len(layers)) * context_length


def assert_reaches_with_the_fewest(count, target, size_without):
    """Any `count` layers are enough; there are some `count - 1` layers that are not."""
    assert all(size_without(layers) <= target for layers in itertools.combinations(range(8), count))
    assert any(size_without(layers) > target for layers in itertools.combinations(range(8), count - 1))


@pytest.mark.parametrize(
    ("ratio", "num_layers", "count"),
    [
        (None, 32, 8),
        (0.25, 30, 8),  # 7.5 rounds up
        (0.25, 22, 6),  # 5.5 too, where round() would answer 6 as well
        (0.25, 26, 7),  # 6.5: round() would answer 6
        (0.25, 24, 6),
        (0.1, 32, 3),
        (0.5, 3, 2),
        (0.02, 30, 1),
        (0.49, 1000, 490),
    ],
)
def test_a_ratio_becomes_a_count_with_halves_rounded_up(ratio, num_layers, count):
    assert layers_to_remove(Recipe(model="m", ratio=ratio), sample_anatomy(num_layers)) == LayerCount(count)


@pytest.mark.parametrize(
    ("recipe", "num_layers", "told"),
    [
        (Recipe(model="m", ratio=0.01), 30, "removes none of 30 layers. .* 0.02"),
        (Recipe(model="m", ratio=0.99), 30, "would remove 30 of 30 layers, .* 29 or fewer"),
        (Recipe(model="m", drop_layers=30), 30, "would remove 30 of 30"),
        (Recipe(model="m", drop_layers=31), 30, "would remove 31 of 30"),
        (Recipe(model="m", layers="0-29"), 30, "would remove 30 of 30"),
        (Recipe(model="m", layers="3,30"), 30, "the model has 30 layers, 0 to 29"),
        (Recipe(model="m", layers="9-5"), 30, "write 5-9 instead"),
        (Recipe(model="m", ratio=0.5), 1, "would remove 1 of 1"),
        (Recipe(model="m", layers="3-5", protect="5"), 30, "names layer 5, which --protect keeps"),
        (Recipe(model="m", protect="30"), 30, "--protect 30: the model has 30 layers, 0 to 29"),
        (
            Recipe(model="m", drop_layers=25, protect="first:4,last:2"),
            30,
            "--drop-layers 25 removes 25 of 30 layers, but only 24 may be removed",
        ),
        (
            Recipe(model="m", ratio=0.9, method="taylor+"),
            30,
            "--ratio 0.9 removes 27 .* only 24 may be removed",
        ),
        (Recipe(model="m", drop_layers=29, method="greedy"), 30, "only 28 may be removed: --method greedy"),
        (Recipe(model="m", drop_layers=5, method="deepest", protect="0"), 6, "only 4 may be removed"),
    ],
    ids=repr,
)
def test_refuses_what_leaves_or_removes_no_layer_or_one_that_has_to_stay(recipe, num_layers, told):
    with pytest.raises(RecipeError, match=told):
        layers_to_remove(recipe, sample_anatomy(num_layers))


@pytest.mark.parametrize("num_layers", [2, 3, 7, 12, 22, 24, 30, 32, 80])
def test_the_smallest_ratio_that_is_advised_does_remove_a_layer(num_layers):
    dense = sample_anatomy(num_layers)
    with pytest.raises(RecipeError) as caught:
        layers_to_remove(Recipe(model="m", ratio=0.001), dense)
    advised = float(str(caught.value).rpartition(" ")[2])
    assert layers_to_remove(Recipe(model="m", ratio=advised), dense) == LayerCount(1)


def test_one_layer_may_stay():
    dense = sample_anatomy(30)
    assert layers_to_remove(Recipe(model="m", drop_layers=29), dense) == LayerCount(29)
    assert layers_to_remove(Recipe(model="m", layers="1-29"), dense) == NamedLayers(tuple(range(1, 30)))


def test_as_many_layers_as_are_free_may_go():
    dense = sample_anatomy(30)
    assert layers_to_remove(Recipe(model="m", drop_layers=24, protect="first:4,last:2"), dense) == LayerCount(
        24
    )
    assert layers_to_remove(Recipe(model="m", drop_layers=24, method="taylor+"), dense) == LayerCount(24)
    assert layers_to_remove(Recipe(model="m", drop_layers=28, method="greedy"), dense) == LayerCount(28)


def test_named_layers_are_those_whatever_the_method_would_protect():
    dense = sample_anatomy(30)
    for method in METHODS:
        assert layers_to_remove(Recipe(model="m", layers="0,28-29", method=method), dense) == NamedLayers(
            (0, 28, 29)
        )


def test_a_model_that_is_only_sorted_or_grown_keeps_all_layers():
    for recipe in (Recipe(model="m", depths="2,4"), Recipe(model="m", drop_layers=0, grow="auto")):
        assert layers_to_remove(recipe, sample_anatomy(30)) == NamedLayers(())


def test_a_loss_leaves_the_number_open():
    assert layers_to_remove(Recipe(model="m", max_loss=0.05), sample_anatomy(30)) == WithinLoss(0.05)


@pytest.mark.parametrize("target", [1900, 1999, 2000, 2001, 3000, 3199, 4000, 4099, 4100, 4500, 4999])
def test_a_number_of_parameters_is_reached_with_the_fewest_layers_whatever_they_are(target):
    removal = layers_to_remove(Recipe(model="m", target_params=target), unequal())
    assert_reaches_with_the_fewest(removal.count, target, parameters_without)


@pytest.mark.parametrize("context_length", [1, 16, 100])
@pytest.mark.parametrize("share", [0.45, 0.5, 0.6, 0.75, 0.9, 0.999])
def test_an_amount_of_memory_is_reached_with_the_fewest_layers_whatever_they_are(share, context_length):
    def size_without(layers):
        return bytes_without(layers, context_length)

    target = int(share * size_without(()))
    recipe = Recipe(model="m", target_memory=target, context_length=context_length)
    assert_reaches_with_the_fewest(layers_to_remove(recipe, unequal()).count, target, size_without)


def test_a_size_that_is_met_exactly_is_met():
    dense = sample_anatomy(30)
    one = dense.parameters_per_layer[0]
    target = dense.parameters - 6 * one
    assert layers_to_remove(Recipe(model="m", target_params=target), dense) == LayerCount(6)
    assert layers_to_remove(Recipe(model="m", target_params=target - 1), dense) == LayerCount(7)
    memory = memory_needed(dense, 6, 4096)
    assert layers_to_remove(Recipe(model="m", target_memory=memory), dense) == LayerCount(6)
    assert layers_to_remove(Recipe(model="m", target_memory=memory - 1), dense) == LayerCount(7)


def test_a_longer_context_takes_more_layers_for_the_same_memory():
    dense = sample_anatomy(30)
    counts = [
        layers_to_remove(Recipe(model="m", target_memory=260_000_000, context_length=length), dense).count
        for length in (1, 1024, 2048, 4096)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_memory_is_weights_and_cache_of_what_is_left():
    dense = unequal()
    for removed in range(9):
        smallest = sorted(range(8), key=UNEQUAL.__getitem__)[:removed]
        assert memory_needed(dense, removed, 100) == bytes_without(smallest, 100)
    assert memory_needed(replace(dense, key_value_bytes_per_token=None), 0, 100) == dense.size_bytes


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"target_params": 999}, "--target-params 999: without any of its layers .* comes to 1000 param"),
        ({"target_params": 1099}, "one layer has to stay: choose a larger target"),
        ({"target_params": 1899}, "one layer has to stay: choose a larger target"),  # the largest may
        ({"target_memory": 1999}, "--target-memory 1999: without any of its layers .* comes to 2000 bytes"),
        ({"target_params": 5000}, "--target-params 5000 is met by the original as it is"),
        ({"target_params": 10**9}, "nothing has to be removed"),
        ({"target_memory": 10**9}, "--target-memory 1000000000 is met by the original as it is"),
    ],
    ids=repr,
)
def test_a_size_that_cannot_be_reached_or_is_met_already_is_refused(target, told):
    with pytest.raises(RecipeError, match=told):
        layers_to_remove(Recipe(model="m", **target), unequal())


def test_a_size_that_takes_more_layers_than_may_go_is_refused():
    with pytest.raises(
        RecipeError, match=r"--target-params 3500 removes \d of 8 layers, but only 2 may be removed"
    ):
        layers_to_remove(Recipe(model="m", target_params=3500, method="taylor+"), unequal())
