"""Where new layers were put, and what the layers there are worth."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hf_prune.records import Growth, Plan
from hf_prune.stages.card.plots.panels import RIGHT, name_panel, panels_of_layers, size_of_dot
from hf_prune.stages.card.plots.scales import choose_scale, set_scale
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    BLUE,
    GREEN,
    INK,
    MUTED,
    VERMILLION,
    add_legend,
    mark_removed,
    removed_patch,
    to_png,
)

HEIGHT = 3.6  # inches
FOOT_OF_PANEL = 0.03  # of its height
WITHOUT: dict[str, Any] = {"color": BLUE, "marker": "o"}
TWICE: dict[str, Any] = {
    "color": VERMILLION,
    "marker": "s",
    "markerfacecolor": BACKGROUND,
    "markeredgewidth": 1.8,
}
SHADE = "#dbe7f0"
SHALLOW: dict[str, Any] = {"facecolor": SHADE, "edgecolor": "none"}
NEW: dict[str, Any] = {"color": GREEN, "marker": "^", "markeredgecolor": INK, "markersize": 12}
LINE: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (2, 2))}


def growth(growth: Growth, plan: Plan) -> bytes:
    """By how much the loss rises without each layer and with it run twice, and where new ones were put.

    These are the two probes of SLayer (2410.02330): where they hurt most, layers hold what was learnt.

    Args:
        growth: with the losses of every layer of the original.
        plan: what was removed before growing, if anything was.
    """
    num_layers = len(growth.removal_losses)
    title = "What each layer is worth, in nats per token, and where new layers were put"
    figure, [axes] = panels_of_layers(title, [HEIGHT], num_layers, RIGHT, legend=True)
    scale = choose_scale([*growth.removal_losses, *growth.expansion_losses])
    name_panel(axes, "Rise in loss when one layer alone is changed", scale.label)
    set_scale(axes, scale)
    # Numbered as in the original, where they were numbered before growing, which is after cutting.
    shallow = plan.kept[growth.shallow.start : growth.shallow.end]
    axes.axvspan(shallow[0] - 0.5, shallow[-1] + 0.5, zorder=0, **SHALLOW)
    mark_removed(axes, plan)
    _mark_new(axes, [plan.kept[layer] for layer in growth.after], 1.5 * size_of_dot(num_layers, RIGHT))
    _series(axes, growth.removal_losses, WITHOUT)
    _series(axes, growth.expansion_losses, TWICE)
    legend: list[Artist] = [
        Line2D([], [], label="without it", linewidth=1.5, markersize=8, **WITHOUT),
        Line2D([], [], label="run twice", linewidth=1.5, markersize=8, **TWICE),
        Patch(label="shallow", **SHALLOW),
        Line2D([], [], label=f"new ({len(growth.after)})", linestyle="none", **NEW),
    ]
    if plan.removed:
        legend.append(removed_patch(plan))
    add_legend(figure, legend)
    return to_png(figure)


def _mark_new(axes: Axes, after: Sequence[int], size: float) -> None:
    """A mark at the foot of the panel, between two layers, with a line up from it.

    Args:
        axes: of layers.
        after: the layers that a new one follows, numbered as the axis is.
        size: of a mark, in points.
    """
    places = [layer + 0.5 for layer in after]
    for place in places:
        axes.axvline(place, zorder=0.5, **LINE)
    heads = axes.plot(places, [FOOT_OF_PANEL] * len(places), linestyle="none", clip_on=False, **NEW)
    heads[0].set(transform=axes.get_xaxis_transform(), markersize=size)


def _series(axes: Axes, values: Sequence[float], look: dict[str, Any]) -> None:
    size = size_of_dot(len(values), RIGHT)
    axes.plot(range(len(values)), values, linewidth=1.5, markersize=size, clip_on=False, **look)
