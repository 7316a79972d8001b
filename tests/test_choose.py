"""Which layers go: planted matrices, rounding, and requests that cannot be met."""

import subprocess
import sys

import pytest

from hf_prune.choose import ANGULAR, CHOSEN_BY_USER, best_blocks, blocks_of, choose, layers_to_remove
from hf_prune.errors import RecipeError
from hf_prune.recipe import Recipe
from hf_prune.records import Block
from tests.sample_run import sample_similarity


def planted(num_layers: int, near: dict[tuple[int, int], float]) -> tuple[tuple[float, ...], ...]:
    """Every pair of boundaries far apart but those in `near`."""
    size = num_layers + 1
    rows = [[0.0 if one == other else 0.9 for other in range(size)] for one in range(size)]
    for (start, end), distance in near.items():
        rows[start][end] = rows[end][start] = distance
    return tuple(map(tuple, rows))


@pytest.mark.parametrize("size", range(1, 6))
def test_finds_a_planted_block_at_every_place(size):
    for start in range(6 - size + 1):
        found = best_blocks(planted(6, {(start, start + size): 0.1}))
        assert [each.size for each in found] == [1, 2, 3, 4, 5]
        assert found[size - 1].block == Block(start=start, end=start + size)
        assert found[size - 1].distance == 0.1


def test_a_block_of_one_size_says_nothing_about_the_others():
    found = best_blocks(planted(6, {(1, 2): 0.3, (4, 6): 0.2, (0, 3): 0.1}))
    assert [each.block for each in found[:3]] == [
        Block(start=1, end=2),
        Block(start=4, end=6),
        Block(start=0, end=3),
    ]


def test_the_last_layer_can_go_and_the_first_of_equals_wins():
    assert best_blocks(planted(4, {(3, 4): 0.1}))[0].block == Block(start=3, end=4)
    assert best_blocks(planted(4, {}))[0].block == Block(start=0, end=1)


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
    assert layers_to_remove(Recipe(model="m", ratio=ratio), num_layers) == count


@pytest.mark.parametrize(
    ("recipe", "num_layers", "told"),
    [
        (Recipe(model="m", ratio=0.01), 30, "removes none of 30 layers; .* 0.02"),
        (Recipe(model="m", ratio=0.99), 30, "would remove 30 of 30 layers; .* 29 or fewer"),
        (Recipe(model="m", drop_layers=30), 30, "would remove 30 of 30"),
        (Recipe(model="m", drop_layers=31), 30, "would remove 31 of 30"),
        (Recipe(model="m", layers="0-29"), 30, "would remove 30 of 30"),
        (Recipe(model="m", layers="3,30"), 30, "the model has 30 layers, 0 to 29"),
        (Recipe(model="m", layers="9-5"), 30, "write 5-9 instead"),
        (Recipe(model="m", ratio=0.5), 1, "would remove 1 of 1"),
    ],
    ids=repr,
)
def test_refuses_what_leaves_or_removes_no_layer_or_names_one_that_is_not_there(recipe, num_layers, told):
    with pytest.raises(RecipeError, match=told):
        layers_to_remove(recipe, num_layers)


@pytest.mark.parametrize("num_layers", [2, 3, 7, 12, 22, 24, 30, 32, 80])
def test_the_smallest_ratio_that_is_advised_does_remove_a_layer(num_layers):
    with pytest.raises(RecipeError) as caught:
        layers_to_remove(Recipe(model="m", ratio=0.001), num_layers)
    advised = float(str(caught.value).rpartition(" ")[2])
    assert layers_to_remove(Recipe(model="m", ratio=advised), num_layers) == 1


def test_one_layer_may_stay():
    assert layers_to_remove(Recipe(model="m", drop_layers=29), 30) == 29
    assert layers_to_remove(Recipe(model="m", layers="1-29"), 30) == tuple(range(1, 30))


@pytest.mark.parametrize(
    ("layers", "blocks"),
    [
        ((3,), [(3, 4)]),
        ((3, 4, 5), [(3, 6)]),
        ((0, 2, 3, 9), [(0, 1), (2, 4), (9, 10)]),
        ((9, 3, 2), [(2, 4), (9, 10)]),
        ((), []),
    ],
)
def test_scattered_layers_become_blocks(layers, blocks):
    assert blocks_of(layers) == tuple(Block(start=start, end=end) for start, end in blocks)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(model="m"),
        Recipe(model="m", ratio=0.5),
        Recipe(model="m", drop_layers=1),
        Recipe(model="m", layers="0-2,29"),
        Recipe(model="m", layers="4-9"),
    ],
    ids=repr,
)
def test_what_is_kept_and_what_goes_make_up_the_model(recipe):
    similarity = sample_similarity(30)
    plan = choose(similarity, recipe)
    assert sorted(plan.kept + plan.removed) == list(range(30))
    assert plan.kept == tuple(sorted(plan.kept))
    assert [layer for block in plan.blocks for layer in range(block.start, block.end)] == list(plan.removed)
    assert plan.best_blocks == best_blocks(similarity.angular_last_token)
    if len(plan.blocks) == 1:
        (block,) = plan.blocks
        assert plan.distance == similarity.angular_last_token[block.start][block.end]
    else:
        assert plan.distance is None


def test_says_whether_the_distance_or_the_user_chose():
    similarity = sample_similarity(30)
    assert choose(similarity, Recipe(model="m")).criterion == ANGULAR
    assert choose(similarity, Recipe(model="m", layers="4-9")).criterion == CHOSEN_BY_USER


def test_a_count_takes_the_nearest_block_of_that_size():
    similarity = sample_similarity(30)
    distances = similarity.angular_last_token
    for count in (1, 6, 15, 29):
        plan = choose(similarity, Recipe(model="m", drop_layers=count))
        assert len(plan.removed) == count
        assert plan.distance == min(distances[start][start + count] for start in range(31 - count))


def test_choosing_needs_no_torch():
    code = "import hf_prune.choose, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
