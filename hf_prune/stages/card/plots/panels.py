"""Panels below each other that share their horizontal axis. All lengths are in inches."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from hf_prune.stages.card.plots.scales import Scale, set_scale
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    FONT_SIZE,
    INK,
    MUTED,
    WIDTH,
    add_grid,
    new_figure,
    whole_numbers,
)

LEFT, RIGHT = 1.0, 0.2  # beside the panels
PANEL_TITLE = 0.42
HEAD, FOOT, LEGEND = 0.5, 0.78, 0.36  # the foot holds the labels of the axis


def panels_of_layers(
    title: str, heights: Sequence[float], num_layers: int, right: float, legend: bool
) -> tuple[Figure, list[Axes]]:
    """Panels whose horizontal axis is the layers, with `right` inches free beside them.

    Args:
        title: of the whole picture.
        heights: of each panel.
        num_layers: how many columns there are.
        right: free beside the panels.
        legend: whether a legend needs room at the foot.
    """
    # A tick past the last layer would name one that does not exist.
    ticks = [tick for tick in whole_numbers().tick_values(0, num_layers - 1) if 0 <= tick < num_layers]
    figure, panels = stacked_panels(title, heights, right, legend)
    margin = 0.6 + 0.005 * num_layers
    share_axis(panels, (-margin, num_layers - 1 + margin), ticks, "layer")
    return figure, panels


def stacked_panels(
    title: str, heights: Sequence[float], right: float, legend: bool
) -> tuple[Figure, list[Axes]]:
    """Panels of these heights, the first on top, with nothing on their horizontal axis yet."""
    foot = FOOT + (LEGEND if legend else 0.0)
    height = HEAD + sum(heights) + PANEL_TITLE * len(heights) + foot
    figure = new_figure(height)
    figure.text(0.02, 1 - 0.16 / height, title, fontsize=FONT_SIZE + 2, color=INK, va="top")
    panels: list[Axes] = []
    top = height - HEAD
    for panel_height in heights:
        top -= PANEL_TITLE + panel_height
        box = (LEFT / WIDTH, top / height, 1 - (LEFT + right) / WIDTH, panel_height / height)
        axes = figure.add_axes(box, facecolor=BACKGROUND)
        axes.tick_params(labelsize=FONT_SIZE, colors=INK, labelbottom=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        add_grid(axes)
        panels.append(axes)
    return figure, panels


def share_axis(
    panels: Sequence[Axes], limits: tuple[float, float], ticks: Sequence[float], label: str
) -> None:
    """Give all panels one horizontal axis, named below the last."""
    for axes in panels:
        axes.set_xlim(*limits)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
    panels[-1].tick_params(labelbottom=True)
    panels[-1].set_xlabel(label, fontsize=FONT_SIZE, color=INK)


def set_up_panel(axes: Axes, title: str, scale: Scale, note: str | None = None) -> None:
    """Give a panel its vertical scale, its title on the left, and on the right a note or the scale's name."""
    axes.set_title(title, fontsize=FONT_SIZE, color=INK, loc="left", pad=6)
    axes.set_title(note or scale.label, fontsize=FONT_SIZE - 1, color=MUTED, loc="right", pad=6)
    set_scale(axes, scale)


def size_of_dot(num_layers: int, right: float) -> float:
    """In points: two thirds of the column of a layer, within reason."""
    column = (WIDTH - LEFT - right) * 72 / num_layers
    return min(max(0.66 * column, 3.6), 8.0)
