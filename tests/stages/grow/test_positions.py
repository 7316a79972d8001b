"""Positions of new layers."""

import pytest

from hf_prune.errors import RecipeError
from hf_prune.records import Block
from hf_prune.stages.grow.positions import (
    AUTO,
    grown_from,
    new_layers,
    number_after,
    positions_for,
    shallow_half,
)


def test_auto_is_the_papers_own_list_for_a_model_of_32_layers() -> None:
    assert positions_for(AUTO, 32) == (1, 3, 5, 7, 9, 11, 13, 15)
    assert shallow_half(32) == Block(start=0, end=16)


def test_as_many_as_the_paper_would_put_are_put_where_it_puts_them() -> None:
    assert positions_for("7", 30) == positions_for(AUTO, 30) == (1, 3, 5, 7, 9, 11, 13)


@pytest.mark.parametrize("count", range(1, 16))
def test_any_number_is_spread_over_the_shallow_half_without_a_layer_twice(count: int) -> None:
    positions = positions_for(str(count), 30)
    assert len(set(positions)) == count
    assert list(positions) == sorted(positions)
    assert 0 <= positions[0] <= positions[-1] < 15


@pytest.mark.parametrize("grow", ["16", "99"])
def test_refuses_more_new_layers_than_the_shallow_half_has(grow: str) -> None:
    with pytest.raises(RecipeError, match=r"can take 1 to 15 new layers"):
        positions_for(grow, 30)


def test_refuses_a_model_that_is_too_short() -> None:
    with pytest.raises(RecipeError):
        positions_for(AUTO, 2)


def test_numbers_before_and_after_growing_fit_together() -> None:
    after = (1, 3)
    assert grown_from(6, after) == (0, 1, 1, 2, 3, 3, 4, 5)
    assert new_layers(after) == (2, 5)
    assert [number_after(layer, after) for layer in range(6)] == [0, 1, 3, 4, 6, 7]
