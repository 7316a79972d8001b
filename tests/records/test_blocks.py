"""Blocks of neighbouring layers: planted matrices, and runs of scattered layers."""

import itertools
import random

import pytest

from hf_prune.records import Block
from hf_prune.records.blocks import all_but, best_blocks, block_starts, blocks_of, nearest_blocks, ranges


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
    ("layers", "text"), [((0, 1, 2, 5, 7, 8), "0-2, 5, 7-8"), ([9, 3, 2], "2-3, 9"), ((), "")]
)
def test_layers_are_printed_as_inclusive_ranges(layers, text):
    assert ranges(layers) == text


@pytest.mark.parametrize(("layers", "others"), [((), (0, 1, 2, 3)), ((2, 0), (1, 3)), (range(4), ())])
def test_all_but_some_layers_are_the_others_in_order(layers, others):
    assert all_but(layers, 4) == others


@pytest.mark.parametrize("seed", range(5))
def test_blocks_start_where_every_layer_is_allowed(seed):
    drawn = random.Random(seed)
    allowed = set(drawn.sample(range(12), drawn.randint(0, 12)))
    for size in range(1, 13):
        everything = [range(start, start + size) for start in range(13 - size)]
        expected = [block.start for block in everything if allowed.issuperset(block)]
        assert block_starts(size, allowed, 12) == expected


@pytest.mark.parametrize("seed", range(5))
def test_nearest_blocks_are_ranked_and_of_equals_the_lower_comes_first(seed):
    drawn = random.Random(seed)
    pairs = itertools.combinations(range(10), 2)
    distances = planted(9, {pair: drawn.randint(1, 3) / 10 for pair in pairs})
    allowed = set(range(9)) - {drawn.randrange(9)}
    for size in (1, 2, 3):
        starts = nearest_blocks(distances, size, allowed)
        assert sorted(starts) == block_starts(size, allowed, 9)
        ranks = [(distances[start][start + size], start) for start in starts]
        assert ranks == sorted(ranks)
