"""Layers and distances in coloured squares."""

import pytest

from hf_prune.records import Block
from hf_prune.stages.card.squares import (
    ACROSS,
    COLUMNS,
    NEAR_TO_FAR,
    PER_LINE,
    distances_in_squares,
    layer_lines,
)


def steps(num_layers: int) -> tuple[tuple[float, ...], ...]:
    """Boundaries that lie on a line, one apart."""
    return tuple(
        tuple(abs(one - other) / num_layers for other in range(num_layers + 1))
        for one in range(num_layers + 1)
    )


def test_each_layer_shows_what_became_of_it() -> None:
    lines = layer_lines(8, removed=(3, 4), bridged=(2,), followed=(0, 0, 7))
    assert lines == ("0 🟦🟩🟩🟦🟧⬜⬜🟦🟦🟦🟩",)


def test_deep_models_take_several_lines_each_with_its_first_layer() -> None:
    lines = layer_lines(2 * PER_LINE + 1)
    assert [line.split()[0] for line in lines] == ["0", "32", "64"]
    assert [line.count("🟦") for line in lines] == [PER_LINE, PER_LINE, 1]
    assert [line.index("🟦") for line in lines] == [3, 3, 3]


def test_distances_grow_from_dark_to_light() -> None:
    drawn = distances_in_squares(steps(6), ())
    near, far = NEAR_TO_FAR[0], NEAR_TO_FAR[-1]
    assert drawn.lines[0] == f"1 {near}"
    assert drawn.lines[-1] == f"6 {''.join(reversed(NEAR_TO_FAR))}"
    assert drawn.limits[-1] == (far, 1.0)
    assert drawn.limits[0] == (near, pytest.approx(1 / 6))


def test_the_ends_of_each_removed_block_are_marked() -> None:
    drawn = distances_in_squares(steps(9), (Block(start=2, end=4), Block(start=6, end=7)))
    squares = {int(line.split()[0]): line.split()[1] for line in drawn.lines}
    assert [(row, text.index(ACROSS)) for row, text in squares.items() if ACROSS in text] == [(4, 2), (7, 6)]


@pytest.mark.parametrize("num_layers", [1, 39, 40, 80, 126])
def test_however_deep_it_stays_narrow_and_every_square_is_a_mean(num_layers: int) -> None:
    drawn = distances_in_squares(steps(num_layers), (Block(start=0, end=1),))
    widths = [len(line.split()[1]) for line in drawn.lines]
    assert max(widths) <= COLUMNS
    assert widths == sorted(widths)
    assert drawn.shared == -(-(num_layers + 1) // COLUMNS)
    assert sum(line.count(ACROSS) for line in drawn.lines) == 1


def test_boundaries_that_are_all_alike_can_be_drawn() -> None:
    drawn = distances_in_squares(((0.0, 0.0), (0.0, 0.0)), ())
    assert drawn.lines == (f"1 {NEAR_TO_FAR[0]}",)
