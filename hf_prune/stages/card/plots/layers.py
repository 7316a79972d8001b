"""The map of the layers: which are kept, removed, bridged or new."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

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
ROW_HEIGHT, LEGEND_HEIGHT = 0.78, 0.62  # inches
LOOKS: dict[str, dict[str, Any]] = {
    "kept": {"facecolor": BLUE, "edgecolor": BLUE},
    "removed": REMOVED_LOOK,
    "bridged": {"facecolor": ORANGE, "edgecolor": INK, "linewidth": 2.5},
    "new": {"facecolor": GREEN, "edgecolor": INK, "linewidth": 2.5},
}
NUMBER_COLOURS = {"kept": "white", "removed": MUTED, "bridged": INK, "new": "white"}


def layer_map(plan: Plan, bridge: Bridge, growth: Growth | None = None) -> bytes:
    """The original's layers in order, by what became of each, and the new layers between them."""
    cells = _cells(plan, bridge, growth)
    fitting = LAYERS_PER_ROW if plan.num_layers <= 100 else LAYERS_PER_ROW_OF_THREE_DIGITS
    rows = math.ceil(len(cells) / fitting)
    per_row = math.ceil(len(cells) / rows)
    columns = max(per_row, LAYERS_PER_ROW_AT_LEAST)
    figure, axes = _empty_map(rows, columns, (columns - per_row) / 2)
    font_size = FONT_SIZE if columns <= 20 else FONT_SIZE - 2
    for position, (text, kind) in enumerate(cells):
        row, column = divmod(position, per_row)
        _draw_cell(axes, text, kind, column, row, font_size)
    add_legend(figure, [Patch(label=label, **LOOKS[kind]) for kind, label in _labels(plan, bridge, growth)])
    return to_png(figure)


def _cells(plan: Plan, bridge: Bridge, growth: Growth | None) -> list[tuple[str, str]]:
    """The text and the kind of each cell."""
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
    height = rows * ROW_HEIGHT + LEGEND_HEIGHT + 0.15
    figure = new_figure(height)
    box = (0.015, LEGEND_HEIGHT / height, 0.97, rows * ROW_HEIGHT / height)
    axes = figure.add_axes(box, facecolor=BACKGROUND)
    axes.set_xlim(-margin, columns - margin)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    return figure, axes


def _labels(plan: Plan, bridge: Bridge, growth: Growth | None) -> list[tuple[str, str]]:
    """The kinds that there are, each with its label in the legend."""
    labels = [("kept", f"{'kept' if plan.removed else 'of the original'} ({len(plan.kept)})")]
    if plan.removed:
        labels.append(("removed", f"removed ({len(plan.removed)})"))
    if bridge.folded:
        layers = {folded.layer for folded in bridge.folded}
        labels.append(("bridged", f"kept, with a bridge ({len(layers)})"))
    if growth is not None:
        labels.append(("new", f"new ({len(growth.layers)})"))
    return labels


def _draw_cell(axes: Axes, text: str, kind: str, column: int, row: int, font_size: float) -> None:
    axes.add_patch(Rectangle((column + 0.06, row + 0.08), 0.88, 0.84, **LOOKS[kind]))
    number = axes.text(
        column + 0.5,
        row + 0.5,
        text,
        ha="center",
        va="center",
        fontsize=font_size,
        fontweight="bold" if kind in ("bridged", "new") else "normal",
        color=NUMBER_COLOURS[kind],
    )
    if kind == "removed":
        number.set_path_effects([withStroke(linewidth=4, foreground=BACKGROUND)])
