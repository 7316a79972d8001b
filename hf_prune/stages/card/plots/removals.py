"""Quality against depth: what a greedy search came to with each layer that it took out."""

from typing import Any

from matplotlib.artist import Artist
from matplotlib.lines import Line2D

from hf_prune.records import Plan, RemovalOrder
from hf_prune.stages.card.plots.healing import BEST, FOOT, HEAD, HEIGHT, LEFT, LINE, RIGHT
from hf_prune.stages.card.plots.scales import choose_scale, set_scale
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    FONT_SIZE,
    INK,
    WIDTH,
    add_grid,
    add_legend,
    new_figure,
    style,
    to_png,
    whole_numbers,
)

TRIED: dict[str, Any] = LINE
CHOSEN: dict[str, Any] = BEST


def removals(order: RemovalOrder, plan: Plan) -> bytes:
    """The loss with so many layers left, as a greedy search measured it without a bridge.

    Args:
        order: of a greedy search that took out two layers or more.
        plan: how many of them went in the end.
    """
    left = [plan.num_layers - 1 - step for step in range(len(order.losses))]
    figure = new_figure(HEIGHT)
    place = (LEFT / WIDTH, FOOT / HEIGHT, 1 - (LEFT + RIGHT) / WIDTH, 1 - (HEAD + FOOT) / HEIGHT)
    axes = figure.add_axes(place, facecolor=BACKGROUND)
    add_grid(axes)
    scale = choose_scale(order.losses)
    set_scale(axes, scale)
    style(axes, f"Loss by layers left, nats per token ({scale.label})")
    axes.xaxis.set_major_locator(whole_numbers())
    axes.set_xlabel("layers left", fontsize=FONT_SIZE, color=INK)
    axes.plot(left, order.losses, **TRIED)
    legend: list[Artist] = [Line2D([], [], label="cut alone, on calibration text", **TRIED)]
    if len(plan.kept) in left:
        axes.plot([len(plan.kept)], [order.losses[left.index(len(plan.kept))]], zorder=3, **CHOSEN)
        legend.append(Line2D([], [], label=f"this model: {len(plan.kept)} layers", **CHOSEN))
    add_legend(figure, legend)
    return to_png(figure)
