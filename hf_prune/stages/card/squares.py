"""Layers and distances in coloured squares, for a place that shows text and no pictures.

Each line is for a block of code, where every square is as wide as the next. From dark to light the squares of
the distances grow lighter for eyes of any colour vision, as cividis does in the pictures of the card.
"""

import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from hf_prune.records import Block, Matrix

KEPT, REMOVED, BRIDGED, NEW = "🟦", "⬜", "🟧", "🟩"
NEAR_TO_FAR = ("⬛", "🟫", "🟥", "🟧", "🟨", "⬜")
ACROSS = "🟦"  # where a removed block begins and ends
PER_LINE = 32  # layers, as in the picture of the card
COLUMNS = 40  # of distances; where there are more boundaries, neighbours share a square


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """A triangle of squares: a line for each boundary, a square for its distance to each one before."""

    lines: tuple[str, ...]
    shared: int  # boundaries to a line: above 1 a square shows the mean over pairs
    limits: tuple[tuple[str, float], ...]  # each square, and the largest distance that it stands for


def layer_lines(
    num_layers: int,
    *,
    removed: Collection[int] = (),
    bridged: Collection[int] = (),
    followed: Sequence[int] = (),
) -> tuple[str, ...]:
    """The original's layers in order, some in each line, and the number of the first before each line.

    Args:
        num_layers: of the original.
        removed: layers that went.
        bridged: kept layers that carry a bridge.
        followed: old layers after which a new one was put, each as often as there are new ones.
    """
    width = len(str(num_layers - 1))
    lines = []
    for first in range(0, num_layers, PER_LINE):
        layers = range(first, min(first + PER_LINE, num_layers))
        squares = [
            (REMOVED if layer in removed else BRIDGED if layer in bridged else KEPT)
            + NEW * followed.count(layer)
            for layer in layers
        ]
        lines.append(f"{first:>{width}} {''.join(squares)}")
    return tuple(lines)


def distances_in_squares(distances: Matrix, blocks: Sequence[Block]) -> Distances:
    """The distances between layer boundaries, at most `COLUMNS` squares wide.

    Args:
        distances: symmetric, (layers + 1, layers + 1).
        blocks: that were removed; the square of their two boundaries is marked.
    """
    count = len(distances)
    shared = math.ceil(count / COLUMNS)
    groups = [range(first, min(first + shared, count)) for first in range(0, count, shared)]
    ends = {(block.start // shared, block.end // shared) for block in blocks}
    largest = max(max(row) for row in distances) or 1.0
    width = len(str(count - 1))
    lines = []
    for place, later in enumerate(groups):
        squares = []
        for other, earlier in enumerate(groups[: place + 1]):
            pairs = [distances[one][two] for one in earlier for two in later if one < two]
            if (other, place) in ends:
                squares.append(ACROSS)
            elif pairs:
                squares.append(_square(statistics.fmean(pairs), largest))
        if squares:
            lines.append(f"{later[0]:>{width}} {''.join(squares)}")
    steps = len(NEAR_TO_FAR)
    limits = tuple((square, largest * (step + 1) / steps) for step, square in enumerate(NEAR_TO_FAR))
    return Distances(lines=tuple(lines), shared=shared, limits=limits)


def _square(distance: float, largest: float) -> str:
    step = math.ceil(len(NEAR_TO_FAR) * distance / largest) - 1
    return NEAR_TO_FAR[min(max(step, 0), len(NEAR_TO_FAR) - 1)]
