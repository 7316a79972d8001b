"""What single layers are worth: by every criterion, and by the loss without them."""

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox, IdentityTransform

from hf_prune.records import Block, Plan, Similarity
from hf_prune.records.blocks import blocks_of
from hf_prune.stages.card.plots.panels import RIGHT, name_panel, panels_of_layers, size_of_dot
from hf_prune.stages.card.plots.scales import Scale, choose_scale, set_scale
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    BLUE,
    DOTS_PER_INCH,
    FONT_SIZE,
    INK,
    MUTED,
    VERMILLION,
    add_legend,
    mark_removed,
    removed_patch,
    to_png,
)
from hf_prune.stages.choose.criteria import CORNERSTONE, cornerstones, title_of
from hf_prune.stages.choose.criteria import layer_scores as scores_of

EFFECTS = ("loss", "shapley")  # they have a picture of their own
RIGHT_OF_EFFECTS = 1.15  # inches beside the panels: a second axis has room there
FACTORS = (2, 10, 1000, 1.1, 100, 1.01)  # of the perplexity, those first that matter most
HEADROOMS = (0.0, 0.1, 0.2, 0.3, 0.4)  # shares of the axis
IDENTITY = IdentityTransform()
LINE_OF_TEXT = FONT_SIZE * DOTS_PER_INCH / 72  # pixels


def layer_scores(similarity: Similarity, plan: Plan | None) -> bytes:
    """What each criterion says of each layer: a panel for every one that was measured.

    Args:
        similarity: of the original, with the scores.
        plan: what was removed, if anything was.
    """
    measured = [scores.criterion for scores in similarity.layer_scores if scores.criterion not in EFFECTS]
    criteria = ["angular", *measured]
    title = "What each criterion says of each layer: the lowest goes first"
    heights = [1.02] * len(criteria)
    figure, panels = panels_of_layers(title, heights, similarity.num_layers, RIGHT, plan is not None)
    removed = set(plan.removed) if plan is not None else set()
    for axes, criterion in zip(panels, criteria, strict=True):
        values = scores_of(criterion, similarity)
        scale = choose_scale(values)
        across = ", across the one layer" if criterion == "angular" else ""
        name_panel(axes, title_of(criterion, similarity) + across, scale.label)
        set_scale(axes, scale)
        if plan is not None:
            mark_removed(axes, plan)
        _dots(axes, values, removed)
    if plan is not None:
        add_legend(figure, [_dot("kept", len(plan.kept)), removed_patch(plan)])
    return to_png(figure)


def drop_effects(similarity: Similarity, plan: Plan | None) -> bytes:
    """What removing one layer alone costs, and where it was measured its Shapley value; cornerstones named.

    Args:
        similarity: of the original, with the scores of "loss".
        plan: what was removed, if anything was.

    Raises:
        ValueError: the loss without each layer was not measured.
    """
    found, rises = cornerstones(similarity), scores_of("loss", similarity)
    shares = similarity.scores("shapley")
    panels_of = [("Rise in loss when one layer alone is removed", rises)]
    if shares is not None:
        panels_of.append(("Shapley value: its share when several go", shares))
    title = "What each layer is worth, in nats per token"
    figure, panels = panels_of_layers(
        title, [3.3] if shares is None else [2.9, 2.3], similarity.num_layers, RIGHT_OF_EFFECTS, True
    )
    removed = set(plan.removed) if plan is not None else set()
    scale = choose_scale([*rises, *(shares or ())], shown=[CORNERSTONE])
    for axes, (name, values) in zip(panels, panels_of, strict=True):
        name_panel(axes, name, scale.label)
        set_scale(axes, scale)
        if plan is not None:
            mark_removed(axes, plan)
        _dots(axes, values, removed, found)
    _name_layers(panels, rises, found, scale)
    _threshold(panels[0])
    legend: list[Artist] = [
        _dot("layer", None),
        _dot("cornerstone: without it perplexity doubles", len(found), VERMILLION),
    ]
    if plan is not None:
        legend.append(removed_patch(plan))
    add_legend(figure, legend)
    return to_png(figure)


def _dots(
    axes: Axes, values: Sequence[float], removed: Collection[int], important: Collection[int] = ()
) -> None:
    """One mark for each layer: filled, hollow where it was removed, a diamond where it is a cornerstone."""
    axes.plot(range(len(values)), values, color=BLUE, linewidth=1.5, alpha=0.35)
    for goes, is_cornerstone in itertools.product((False, True), repeat=2):
        layers = [
            layer
            for layer in range(len(values))
            if (layer in removed) == goes and (layer in important) == is_cornerstone
        ]
        colour = VERMILLION if is_cornerstone else BLUE
        axes.plot(
            layers,
            [values[layer] for layer in layers],
            "D" if is_cornerstone else "o",
            markersize=size_of_dot(len(values), RIGHT_OF_EFFECTS),
            markerfacecolor=BACKGROUND if goes else colour,
            markeredgecolor=colour,
            markeredgewidth=1.6,
            clip_on=False,
        )


def _dot(label: str, count: int | None, colour: str = BLUE) -> Line2D:
    counted = label if count is None else f"{label} ({count})"
    marker = "o" if colour == BLUE else "D"
    return Line2D([], [], color=colour, marker=marker, markersize=8, linestyle="none", label=counted)


def _threshold(axes: Axes) -> None:
    """The line above which a layer is a cornerstone; on the right, what rises do to the perplexity."""
    axes.axhline(CORNERSTONE, color=INK, linewidth=2, linestyle=(0, (5, 3)), zorder=1.5)
    bottom, top = axes.get_ylim()
    taken: list[float] = []
    for factor in FACTORS:
        rise = math.log(factor)
        height = axes.transData.transform((0, rise))[1]
        if not bottom <= rise <= top or any(abs(height - other) < 1.2 * LINE_OF_TEXT for other in taken):
            continue
        taken.append(height)
        axes.annotate(
            f"\N{MULTIPLICATION SIGN}{factor:g}",
            xy=(1, rise),
            xycoords=axes.get_yaxis_transform(),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT_SIZE,
            color=INK,
            fontweight="bold" if factor == 2 else "normal",
        )
    axes.annotate(
        "perplexity",
        xy=(1, 0.5),
        xycoords="axes fraction",
        xytext=(58, 0),
        textcoords="offset points",
        rotation=90,
        va="center",
        fontsize=FONT_SIZE,
        color=INK,
    )


@dataclass(frozen=True, slots=True)
class _Name:
    """Where the name of some layers goes, in pixels."""

    text: str
    x: float  # of its middle
    y: float  # of its foot
    stands_on: tuple[float, float]  # the top of the mark that it names


def _name_layers(
    panels: Sequence[Axes], values: Sequence[float], layers: tuple[int, ...], scale: Scale
) -> None:
    """Put the number of each of these layers above its mark in the first panel.

    Neighbours are named together where there is no room to name each. All panels are given as much free
    space above their marks as the names take.
    """
    names: list[_Name] = []
    singly = tuple(Block(start=layer, end=layer + 1) for layer in layers)
    ways = ((singly, 0.3 * LINE_OF_TEXT), (blocks_of(layers), math.inf))
    for (blocks, furthest), headroom in itertools.product(ways, HEADROOMS):
        for panel in panels:
            set_scale(panel, _heightened(panel, scale, headroom))
        names = _places(panels[0], values, blocks, furthest)
        if len(names) == len(blocks):
            break
    for name in names:
        x, top = name.stands_on
        if name.y > top + 0.3 * LINE_OF_TEXT:
            leader = Line2D([x, name.x], [top, name.y], color=MUTED, linewidth=1, transform=IDENTITY)
            panels[0].add_artist(leader)
        number = panels[0].text(name.x, name.y, name.text, transform=IDENTITY, ha="center", va="bottom")
        number.set(fontsize=FONT_SIZE, fontweight="bold", color=INK)
        number.set_path_effects([withStroke(linewidth=4, foreground=BACKGROUND)])


def _heightened(axes: Axes, scale: Scale, headroom: float) -> Scale:
    """The same scale with a share of the axis free above everything that is shown."""
    set_scale(axes, scale)
    (_, bottom), (_, top) = axes.transScale.transform([(0, scale.bottom), (0, scale.top)])
    higher = bottom + (top - bottom) / (1 - headroom)
    return replace(scale, top=float(axes.transScale.inverted().transform((0, higher))[1]))


def _places(axes: Axes, values: Sequence[float], blocks: Sequence[Block], furthest: float) -> list[_Name]:
    """Places for names, each as near to its mark as other marks and names allow; some may find none.

    Args:
        axes: with their final scale.
        values: of every layer.
        blocks: what is named.
        furthest: how many pixels a name may stand above its mark.
    """
    inside = axes.get_window_extent()
    radius = size_of_dot(len(values), RIGHT_OF_EFFECTS) * DOTS_PER_INCH / 72 / 2 + 3
    marks = [tuple(axes.transData.transform(point)) for point in enumerate(values)]
    taken = [Bbox.from_extents(x - radius, y - radius, x + radius, y + radius) for x, y in marks]
    names = []
    for block in blocks:
        half = _width(str(block)) / 2
        x = (marks[block.start][0] + marks[block.end - 1][0]) / 2
        x = min(max(x, inside.x0 + half + 8), inside.x1 - half)
        highest = max(marks[block.start : block.end], key=lambda mark: mark[1])
        y = foot = highest[1] + radius
        while y <= min(foot + furthest, inside.y1 - LINE_OF_TEXT):
            box = Bbox.from_extents(x - half - 3, y + 1, x + half + 3, y + LINE_OF_TEXT)
            if not any(box.overlaps(other) for other in taken):
                taken.append(box)
                names.append(_Name(str(block), x, y, (highest[0], foot)))
                break
            y += 2
    return names


def _width(text: str) -> float:
    """Of digits and hyphens, in pixels, in bold."""
    return sum(0.42 if character == "-" else 0.7 for character in text) * LINE_OF_TEXT
