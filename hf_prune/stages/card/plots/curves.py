"""Loss curves: over the steps of a healing, and over the layers that a greedy search removed."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hf_prune.records import Healing, Plan, RemovalOrder
from hf_prune.stages.card.plots.panels import set_up_panel, stacked_panels
from hf_prune.stages.card.plots.scales import choose_scale
from hf_prune.stages.card.plots.style import (
    BLUE,
    FONT_SIZE,
    INK,
    MUTED,
    ORANGE,
    add_legend,
    to_png,
    whole_numbers,
)

HEIGHT, RIGHT = 3.05, 0.3  # inches
LINE: dict[str, Any] = {"color": BLUE, "linewidth": 2.5, "marker": "o", "markersize": 7}
CHOSEN: dict[str, Any] = {
    "color": ORANGE,
    "marker": "o",
    "markersize": 14,
    "markeredgecolor": INK,
    "markeredgewidth": 2.5,
    "linestyle": "none",
}
BEFORE: dict[str, Any] = {"color": MUTED, "linewidth": 2, "linestyle": (0, (5, 3))}


def healing_curve(healing: Healing) -> bytes:
    """The loss on the text that was set aside, by step, and the loss before the first step.

    That loss was measured at two steps or more.
    """
    losses = {point.step: point.watched_loss for point in healing.curve if point.watched_loss is not None}
    before, best, plan = healing.loss_before, healing.best_step, healing.plan
    windows = f"window{'s' if plan.batch > 1 else ''} of {plan.sequence_length} tokens"
    figure, axes = _loss_curve(
        "Loss on text that was set aside", losses, f"steps of {plan.batch} {windows}", [before]
    )
    # QLoRA measures this loss in 4 bits while it trains, and in full before and after.
    legend = [_line("while training" + (", in 4 bits" if plan.method == "qlora" else ""), LINE)]
    if before is not None:
        axes.axhline(before, zorder=1.5, **BEFORE)
        legend.append(_line(f"before training: {before:.3f}", BEFORE))
    if best in losses:
        axes.plot([best], [losses[best]], zorder=3, **CHOSEN)
        legend.append(_line(f"{'kept' if healing.kept else 'best, not kept'}: step {best}", CHOSEN))
    add_legend(figure, legend)
    return to_png(figure)


def removals(order: RemovalOrder, plan: Plan) -> bytes:
    """The loss by the number of layers kept, as a greedy search measured it without a bridge.

    The search removed two layers or more, and `plan` says how many are removed in the end.
    """
    losses = {plan.num_layers - 1 - step: loss for step, loss in enumerate(order.losses)}
    figure, axes = _loss_curve("Loss on calibration text as layers are removed", losses, "layers kept")
    legend = [_line("cut only, no bridge", LINE)]
    kept = len(plan.kept)
    if kept in losses:
        axes.plot([kept], [losses[kept]], zorder=3, **CHOSEN)
        legend.append(_line(f"this model: {kept} layers", CHOSEN))
    add_legend(figure, legend)
    return to_png(figure)


def _loss_curve(
    title: str, losses: Mapping[int, float], label: str, also_shown: Sequence[float | None] = ()
) -> tuple[Figure, Axes]:
    figure, [axes] = stacked_panels(title, [HEIGHT], RIGHT, legend=True)
    scale = choose_scale(list(losses.values()), [loss for loss in also_shown if loss is not None])
    set_up_panel(axes, "nats per token", scale)
    axes.xaxis.set_major_locator(whole_numbers())
    axes.tick_params(labelbottom=True)
    axes.set_xlabel(label, fontsize=FONT_SIZE, color=INK)
    axes.plot(list(losses), list(losses.values()), **LINE)
    return figure, axes


def _line(label: str, look: dict[str, Any]) -> Artist:
    return Line2D([], [], label=label, **look)
