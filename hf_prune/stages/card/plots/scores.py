"""The worth of single layers: by every criterion, and by the loss without them."""

import itertools
import math
from collections.abc import Collection, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hf_prune.records import Plan, Similarity
from hf_prune.stages.card.plots.panels import RIGHT, panels_of_layers, set_up_panel, size_of_dot
from hf_prune.stages.card.plots.scales import Scale, choose_scale, set_scale
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    BLUE,
    DOTS_PER_INCH,
    FONT_SIZE,
    INK,
    VERMILLION,
    add_legend,
    first_layers,
    mark_removed,
    removed_patch,
    to_png,
)
from hf_prune.stages.choose.criteria import CORNERSTONE, cornerstones, title_of
from hf_prune.stages.choose.criteria import layer_scores as scores_of

EFFECTS = ("loss", "shapley")  # they have a picture of their own
RIGHT_OF_EFFECTS = 1.15  # inches beside the panels: a second axis has room there
FACTORS = (2, 10, 1000, 1.1, 100, 1.01)  # of the perplexity, those first that matter most
FACTOR_DISTANCE = 1.2 * FONT_SIZE * DOTS_PER_INCH / 72  # pixels between two of them, at least
NAMED = 24  # characters of the title that name cornerstones


def layer_scores(similarity: Similarity, plan: Plan | None) -> bytes:
    """The score of each layer: a panel for every criterion that was measured."""
    measured = [scores.criterion for scores in similarity.layer_scores if scores.criterion not in EFFECTS]
    criteria = ["angular", *measured]
    title = "Score of each layer by each criterion: the lowest is removed first"
    heights = [1.02] * len(criteria)
    figure, panels = panels_of_layers(title, heights, similarity.num_layers, RIGHT, plan is not None)
    for axes, criterion in zip(panels, criteria, strict=True):
        values = scores_of(criterion, similarity)
        across = ", across the one layer" if criterion == "angular" else ""
        set_up_panel(axes, title_of(criterion, similarity) + across, choose_scale(values))
        _draw_layers(axes, values, plan)
    if plan is not None:
        add_legend(figure, [_dot(f"kept ({len(plan.kept)})"), removed_patch(plan)])
    return to_png(figure)


def drop_effects(similarity: Similarity, plan: Plan | None) -> bytes:
    """The rise in loss without each layer, and its Shapley value if that was measured.

    Raises:
        ValueError: the loss without each layer was not measured.
    """
    important, rises = cornerstones(similarity), scores_of("loss", similarity)
    shares = similarity.scores("shapley")
    title = "Worth of each layer, in nats per token"
    if important:
        title += f" (cornerstone{'s' if len(important) > 1 else ''} {first_layers(important, NAMED)})"
    heights = [3.3] if shares is None else [2.9, 2.3]
    figure, panels = panels_of_layers(title, heights, similarity.num_layers, RIGHT_OF_EFFECTS, legend=True)
    scale = choose_scale([*rises, *(shares or ())], [CORNERSTONE])
    set_up_panel(panels[0], "Rise in loss when one layer alone is removed", scale)
    _draw_layers(panels[0], rises, plan, important)
    _mark_threshold(panels[0], scale)
    if shares is not None:
        set_up_panel(panels[1], "Shapley value: its share when several are removed", scale)
        _draw_layers(panels[1], shares, plan, important)
    cornerstone = f"cornerstone: without it perplexity doubles ({len(important)})"
    legend = [_dot("layer"), _dot(cornerstone, VERMILLION)]
    add_legend(figure, legend if plan is None else [*legend, removed_patch(plan)])
    return to_png(figure)


def _draw_layers(
    axes: Axes, values: Sequence[float], plan: Plan | None, important: Collection[int] = ()
) -> None:
    """One mark for each layer: filled, hollow if it was removed, a diamond if it is a cornerstone."""
    removed: Collection[int] = ()
    if plan is not None:
        mark_removed(axes, plan)
        removed = set(plan.removed)
    axes.plot(range(len(values)), values, color=BLUE, linewidth=1.5, alpha=0.35)
    for is_removed, is_cornerstone in itertools.product((False, True), repeat=2):
        layers = [
            layer
            for layer in range(len(values))
            if (layer in removed) == is_removed and (layer in important) == is_cornerstone
        ]
        colour = VERMILLION if is_cornerstone else BLUE
        axes.plot(
            layers,
            [values[layer] for layer in layers],
            "D" if is_cornerstone else "o",
            markersize=size_of_dot(len(values), RIGHT_OF_EFFECTS),
            markerfacecolor=BACKGROUND if is_removed else colour,
            markeredgecolor=colour,
            markeredgewidth=1.6,
            clip_on=False,
        )


def _dot(label: str, colour: str = BLUE) -> Artist:
    marker = "o" if colour == BLUE else "D"
    return Line2D([], [], color=colour, marker=marker, markersize=8, linestyle="none", label=label)


def _mark_threshold(axes: Axes, scale: Scale) -> None:
    """A line above which a layer is a cornerstone, and an axis of the perplexity's factor on the right."""
    axes.axhline(CORNERSTONE, color=INK, linewidth=2, linestyle=(0, (5, 3)), zorder=1.5)
    shown: dict[float, float] = {}  # factors by their height in pixels
    for factor in FACTORS:
        height = axes.transData.transform((0, math.log(factor)))[1]
        has_room = all(abs(height - other) >= FACTOR_DISTANCE for other in shown)
        if has_room and scale.bottom <= math.log(factor) <= scale.top:
            shown[height] = factor
    right = axes.twinx()
    set_scale(right, scale)
    right.set_yticks([math.log(factor) for factor in shown.values()])
    right.set_yticklabels([f"\N{MULTIPLICATION SIGN}{factor:g}" for factor in shown.values()])
    right.tick_params(labelsize=FONT_SIZE, colors=INK, length=0)
    right.set_ylabel("perplexity", fontsize=FONT_SIZE, color=INK)
    for side in ("top", "right"):
        right.spines[side].set_visible(False)
