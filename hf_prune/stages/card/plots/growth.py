"""Where new layers were added, and the worth of the layers there."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hf_prune.records import Growth, Plan
from hf_prune.stages.card.plots.panels import RIGHT, panels_of_layers, set_up_panel, size_of_dot
from hf_prune.stages.card.plots.scales import choose_scale
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
    """The rise in loss without each layer and with it run twice, and where new layers were added.

    These are the two probes of SLayer (2410.02330): where they hurt most, layers hold what was learnt.
    """
    num_layers = len(growth.removal_losses)
    title = "Worth of each layer, in nats per token, and where new layers were added"
    figure, [axes] = panels_of_layers(title, [HEIGHT], num_layers, RIGHT, legend=True)
    scale = choose_scale([*growth.removal_losses, *growth.expansion_losses])
    set_up_panel(axes, "Rise in loss when one layer alone is changed", scale)
    # Numbered as in the original, where they were numbered before growing, which is after cutting.
    shallow = plan.kept[growth.shallow.start : growth.shallow.end]
    axes.axvspan(shallow[0] - 0.5, shallow[-1] + 0.5, zorder=0, **SHALLOW)
    mark_removed(axes, plan)
    size = size_of_dot(num_layers, RIGHT)
    _mark_new(axes, [plan.kept[layer] for layer in growth.after], 1.5 * size)
    for losses, look in ((growth.removal_losses, WITHOUT), (growth.expansion_losses, TWICE)):
        axes.plot(range(num_layers), losses, linewidth=1.5, markersize=size, clip_on=False, **look)
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
    """A mark at the foot of the panel behind each of these layers, with a line up from it.

    The layers are numbered as the axis is. The size is in points.
    """
    positions = [layer + 0.5 for layer in after]
    for position in positions:
        axes.axvline(position, zorder=0.5, **LINE)
    heads = axes.plot(positions, [FOOT_OF_PANEL] * len(positions), linestyle="none", clip_on=False, **NEW)
    heads[0].set(transform=axes.get_xaxis_transform(), markersize=size)
