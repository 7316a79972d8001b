"""The layers in order: what became of each."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from hf_prune.records import Bridge, Growth, Plan
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    BLUE,
    FONT_SIZE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    REMOVED_LOOK,
    add_legend,
    new_figure,
    to_png,
)

LAYERS_PER_ROW = 32  # two digits still fit into a cell
LAYERS_PER_ROW_OF_THREE_DIGITS = 24
LAYERS_PER_ROW_AT_LEAST = 12  # a cell of a shallow model does not fill the page


def layer_map(plan: Plan, bridge: Bridge, growth: Growth | None = None) -> bytes:
    """The original's layers in order: which stay, which go, which carry a bridge, and what was put between.

    Args:
        plan: which stay and which go.
        bridge: that is carried.
        growth: new layers, where there are any; they have no number of the original's.
    """
    cells = _cells(plan, bridge, growth)
    fitting = LAYERS_PER_ROW if plan.num_layers <= 100 else LAYERS_PER_ROW_OF_THREE_DIGITS
    rows = math.ceil(len(cells) / fitting)
    per_row = math.ceil(len(cells) / rows)
    columns = max(per_row, LAYERS_PER_ROW_AT_LEAST)
    figure, axes = _empty_map(rows, columns, (columns - per_row) / 2)
    font_size = FONT_SIZE if columns <= 20 else FONT_SIZE - 2
    for place, (text, kind) in enumerate(cells):
        row, column = divmod(place, per_row)
        _cell(axes, text, kind, column, row).set_fontsize(font_size)
    named = [_kind(kind, label) for kind, label in _legend(plan, bridge, growth)]
    add_legend(figure, named)
    return to_png(figure)


def _cells(plan: Plan, bridge: Bridge, growth: Growth | None) -> list[tuple[str, str]]:
    """What is written into each cell, and its kind."""
    removed, bridged = set(plan.removed), {folded.layer for folded in bridge.folded}
    # Numbered before growing, which is after cutting.
    followed = [plan.kept[layer] for layer in growth.after] if growth is not None else []
    cells: list[tuple[str, str]] = []
    for layer in range(plan.num_layers):
        kind = "removed" if layer in removed else "bridged" if layer in bridged else "kept"
        cells.append((str(layer), kind))
        cells += [("+", "new")] * followed.count(layer)
    return cells


def _empty_map(rows: int, columns: int, margin: float) -> tuple[Figure, Axes]:
    row_height, legend_height = 0.78, 0.62
    height = rows * row_height + legend_height + 0.15
    figure = new_figure(height)
    axes = figure.add_axes(
        (0.015, legend_height / height, 0.97, rows * row_height / height), facecolor=BACKGROUND
    )
    axes.set_xlim(-margin, columns - margin)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    return figure, axes


def _legend(plan: Plan, bridge: Bridge, growth: Growth | None) -> list[tuple[str, str]]:
    labels = [("kept", f"{'kept' if plan.removed else 'of the original'} ({len(plan.kept)})")]
    if plan.removed:
        labels.append(("removed", f"removed ({len(plan.removed)})"))
    if bridge.folded:
        layers = {folded.layer for folded in bridge.folded}
        labels.append(("bridged", f"kept, carries a bridge ({len(layers)})"))
    if growth is not None:
        labels.append(("new", f"new ({len(growth.layers)})"))
    return labels


LOOKS: dict[str, dict[str, Any]] = {
    "kept": {"facecolor": BLUE, "edgecolor": BLUE},
    "removed": REMOVED_LOOK,
    "bridged": {"facecolor": ORANGE, "edgecolor": INK, "linewidth": 2.5},
    "new": {"facecolor": GREEN, "edgecolor": INK, "linewidth": 2.5},
}
NUMBER_COLOURS = {"kept": "white", "removed": MUTED, "bridged": INK, "new": "white"}


def _kind(kind: str, label: str) -> Patch:
    return Patch(label=label, **LOOKS[kind])


def _cell(axes: Axes, text: str, kind: str, column: int, row: int) -> Text:
    look = LOOKS[kind]
    axes.add_patch(Rectangle((column + 0.06, row + 0.08), 0.88, 0.84, **look))
    number = axes.text(
        column + 0.5,
        row + 0.5,
        text,
        ha="center",
        va="center",
        fontweight="bold" if kind in ("bridged", "new") else "normal",
        color=NUMBER_COLOURS[kind],
    )
    if kind == "removed":
        number.set_path_effects([withStroke(linewidth=4, foreground=BACKGROUND)])
    return number
