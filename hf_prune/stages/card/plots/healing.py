"""The healing: how the loss on watched text went while the shorter model was trained."""

from typing import Any

from matplotlib.artist import Artist
from matplotlib.lines import Line2D

from hf_prune.records import Healing
from hf_prune.stages.card.plots.scales import choose_scale, set_scale
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    BLUE,
    FONT_SIZE,
    INK,
    MUTED,
    ORANGE,
    WIDTH,
    add_grid,
    add_legend,
    new_figure,
    style,
    to_png,
    whole_numbers,
)

HEIGHT = 4.9  # inches
LEFT, RIGHT, HEAD, FOOT = 1.0, 0.3, 0.55, 1.3  # inches
LINE: dict[str, Any] = {"color": BLUE, "linewidth": 2.5, "marker": "o", "markersize": 7}
BEST: dict[str, Any] = {
    "color": ORANGE,
    "marker": "o",
    "markersize": 14,
    "markeredgecolor": INK,
    "markeredgewidth": 2.5,
    "linestyle": "none",
}
BEFORE: dict[str, Any] = {"color": MUTED, "linewidth": 2, "linestyle": (0, (5, 3))}


def healing_curve(healing: Healing) -> bytes:
    """The loss on watched text after so many steps, beside what it was before the first.

    Args:
        healing: a training in which that loss was looked at twice or more.
    """
    losses = {point.step: point.watched_loss for point in healing.curve if point.watched_loss is not None}
    before, best = healing.loss_before, healing.best_step if healing.best_step in losses else None
    figure = new_figure(HEIGHT)
    place = (LEFT / WIDTH, FOOT / HEIGHT, 1 - (LEFT + RIGHT) / WIDTH, 1 - (HEAD + FOOT) / HEIGHT)
    axes = figure.add_axes(place, facecolor=BACKGROUND)
    add_grid(axes)
    scale = choose_scale(list(losses.values()), [] if before is None else [before])
    set_scale(axes, scale)
    style(axes, f"Loss on text that was set aside, nats per token ({scale.label})")
    axes.xaxis.set_major_locator(whole_numbers())
    plan = healing.plan
    windows = f"window{'s' if plan.batch > 1 else ''} of {plan.sequence_length} tokens"
    axes.set_xlabel(f"steps of {plan.batch} {windows}", fontsize=FONT_SIZE, color=INK)
    axes.plot(list(losses), list(losses.values()), **LINE)
    # What is trained in 4 bits is looked at in 4 bits; what came before and after is judged in full.
    legend: list[Artist] = [
        Line2D([], [], label="while training" + (", in 4 bits" if plan.method == "qlora" else ""), **LINE)
    ]
    if before is not None:
        axes.axhline(before, zorder=1.5, **BEFORE)
        legend.append(Line2D([], [], label=f"before training: {before:.3f}", **BEFORE))
    if best is not None:
        axes.plot([best], [losses[best]], zorder=3, **BEST)
        kept = "kept" if healing.kept else "best, not kept"
        legend.append(Line2D([], [], label=f"{kept}: step {best}", **BEST))
    add_legend(figure, legend)
    return to_png(figure)
