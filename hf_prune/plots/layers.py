"""The layers in order: what became of each."""

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from hf_prune.plots.style import (
    BACKGROUND,
    BLUE,
    FONT_SIZE,
    INK,
    MUTED,
    ORANGE,
    REMOVED_LOOK,
    add_legend,
    new_figure,
    to_png,
)
from hf_prune.records import Bridge, Plan

LAYERS_PER_ROW = 32  # two digits still fit into a cell
LAYERS_PER_ROW_OF_THREE_DIGITS = 24
LAYERS_PER_ROW_AT_LEAST = 12  # a cell of a shallow model does not fill the page


def layer_map(plan: Plan, bridge: Bridge) -> bytes:
    """The original's layers in order: which stay, which go, and which carry a bridge."""
    fitting = LAYERS_PER_ROW if plan.num_layers <= 100 else LAYERS_PER_ROW_OF_THREE_DIGITS
    rows = math.ceil(plan.num_layers / fitting)
    per_row = math.ceil(plan.num_layers / rows)
    columns = max(per_row, LAYERS_PER_ROW_AT_LEAST)
    row_height, legend_height = 0.78, 0.62
    height = rows * row_height + legend_height + 0.15
    figure = new_figure(height)
    axes = figure.add_axes(
        (0.015, legend_height / height, 0.97, rows * row_height / height), facecolor=BACKGROUND
    )
    margin = (columns - per_row) / 2
    axes.set_xlim(-margin, columns - margin)
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    removed, bridged = set(plan.removed), {folded.layer for folded in bridge.folded}
    font_size = FONT_SIZE if columns <= 20 else FONT_SIZE - 2
    for layer in range(plan.num_layers):
        row, column = divmod(layer, per_row)
        kind = "removed" if layer in removed else "bridged" if layer in bridged else "kept"
        number = _cell(axes, layer, kind, column, row)
        number.set_fontsize(font_size)
    named = [_kind(kind, label) for kind, label in _legend(plan, bridge)]
    add_legend(figure, named)
    return to_png(figure)


def _legend(plan: Plan, bridge: Bridge) -> list[tuple[str, str]]:
    labels = [("kept", f"kept ({len(plan.kept)})"), ("removed", f"removed ({len(plan.removed)})")]
    if bridge.folded:
        layers = {folded.layer for folded in bridge.folded}
        labels.append(("bridged", f"kept, carries a bridge ({len(layers)})"))
    return labels


LOOKS: dict[str, dict[str, Any]] = {
    "kept": {"facecolor": BLUE, "edgecolor": BLUE},
    "removed": REMOVED_LOOK,
    "bridged": {"facecolor": ORANGE, "edgecolor": INK, "linewidth": 2.5},
}
NUMBER_COLOURS = {"kept": "white", "removed": MUTED, "bridged": INK}


def _kind(kind: str, label: str) -> Patch:
    return Patch(label=label, **LOOKS[kind])


def _cell(axes: Axes, layer: int, kind: str, column: int, row: int) -> Text:
    look = LOOKS[kind]
    axes.add_patch(Rectangle((column + 0.06, row + 0.08), 0.88, 0.84, **look))
    number = axes.text(
        column + 0.5,
        row + 0.5,
        str(layer),
        ha="center",
        va="center",
        fontweight="bold" if kind == "bridged" else "normal",
        color=NUMBER_COLOURS[kind],
    )
    if kind == "removed":
        number.set_path_effects([withStroke(linewidth=4, foreground=BACKGROUND)])
    return number
