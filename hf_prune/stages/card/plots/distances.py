"""Distances between layer boundaries: every pair, and the best block of each size."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import blended_transform_factory

from hf_prune.records import Block, BlockDistance, Plan, Similarity
from hf_prune.records.blocks import best_blocks
from hf_prune.stages.card.plots.style import (
    BACKGROUND,
    BLUE,
    FONT_SIZE,
    INK,
    MUTED,
    add_grid,
    name_layers,
    new_figure,
    style,
    to_png,
    whole_numbers,
)

NAMED_BLOCKS = 6  # more labels than these would hide the boxes
NAMED_SHARES = (1 / 8, 1 / 4, 1 / 3, 1 / 2)  # of the depth, if there is no removed block to name
LABEL: dict[str, Any] = {
    "fontsize": FONT_SIZE,
    "color": INK,
    "bbox": {"facecolor": BACKGROUND, "edgecolor": "none", "alpha": 0.85, "pad": 2},
}


def similarity_heatmap(similarity: Similarity, plan: Plan | None) -> bytes:
    """The angular distance between every two layer boundaries, with the removed blocks outlined."""
    figure = new_figure(8.4)
    axes = figure.add_axes((0.085, 0.095, 0.75, 0.84))
    image = axes.imshow(
        similarity.angular_last_token, cmap="cividis", origin="lower", interpolation="nearest"
    )
    style(axes, f"Angular distance between layer boundaries, at the {similarity.compared_token} token")
    boundary = f"boundary: input of layer n ({similarity.num_layers}: output of the last)"
    axes.set_xlabel(boundary, fontsize=FONT_SIZE, color=INK)
    axes.set_ylabel(boundary, fontsize=FONT_SIZE, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(whole_numbers())
    blocks = plan.blocks if plan is not None else ()
    nameable = len(blocks) <= NAMED_BLOCKS
    labelled_to = -math.inf
    for block in blocks:
        _outline(axes, block)
        # A box that is nearer to the last than the height of a line of text gets no name.
        if nameable and block.end - labelled_to > 0.05 * similarity.num_layers:
            _name_block(axes, block, similarity)
            labelled_to = block.end
    bar = figure.colorbar(image, cax=figure.add_axes((0.865, 0.095, 0.03, 0.84)))
    bar.ax.tick_params(labelsize=FONT_SIZE, colors=INK)
    bar.set_label("arccos(cosine) / π   (0.5: orthogonal)", fontsize=FONT_SIZE, color=INK)
    return to_png(figure)


def _outline(axes: Axes, block: Block) -> None:
    """A box around the boundaries of a block; its upper left cell is the distance across it."""
    corner, side = block.start - 0.5, block.end - block.start + 1
    box = Rectangle((corner, corner), side, side, fill=False, edgecolor="white", linewidth=2.5, clip_on=False)
    box.set_path_effects([withStroke(linewidth=5.5, foreground="black")])
    axes.add_patch(box)


def _name_block(axes: Axes, block: Block, similarity: Similarity) -> None:
    """The name of a box: on the side that has more room, or inside a box that leaves none."""
    before, after = block.start, similarity.num_layers - block.end
    inside = max(before, after) < 0.3 * similarity.num_layers
    on_left = before > after and not inside
    distance = similarity.angular_last_token[block.start][block.end]
    axes.annotate(
        f"removed {block}: {distance:.3f}",
        xy=(block.start - 0.5 if on_left or inside else block.end + 0.5, block.end + 0.5),
        xytext=(-12 if on_left else 12, -10 if inside else -4),
        textcoords="offset points",
        ha="right" if on_left else "left",
        va="top",
        fontsize=FONT_SIZE,
        color="white",
        bbox={"facecolor": INK, "edgecolor": "none", "boxstyle": "round,pad=0.25"},
    )


def best_distance_per_block_size(similarity: Similarity, plan: Plan | None) -> bytes:
    """The distance across the best block of each size, with the removed block marked.

    If no single block was removed, the best blocks of a few sizes are named instead.
    """
    figure = new_figure(5.4)
    axes = figure.add_axes((0.095, 0.14, 0.88, 0.76))
    best = best_blocks(similarity.angular_last_token)
    sizes, distances = [each.size for each in best], [each.distance for each in best]
    dot = 6 if len(sizes) <= 64 else 3
    axes.plot(sizes, distances, color=BLUE, linewidth=2.5, marker="o", markersize=dot)
    style(axes, "Smallest angular distance across a block, for each block size")
    axes.set_xlabel("layers in the block", fontsize=FONT_SIZE, color=INK)
    axes.set_ylabel("arccos(cosine) / π", fontsize=FONT_SIZE, color=INK)
    axes.xaxis.set_major_locator(whole_numbers())
    largest = max(sizes, default=1)
    axes.set_xlim(0.5, largest + 0.5)
    removed = plan.distance if plan is not None else None
    axes.set_ylim(0, 1.18 * max([*distances, removed or 0.0]) or 1.0)
    add_grid(axes)
    if not best:
        axes.text(
            0.5,
            0.5,
            "one layer: it cannot be removed",
            transform=axes.transAxes,
            ha="center",
            fontsize=FONT_SIZE,
        )
    elif plan is not None and removed is not None:
        _mark_removed(axes, plan.blocks[0], removed, largest)
    else:
        _name_best(axes, best, similarity.num_layers)
    return to_png(figure)


def _name_best(axes: Axes, best: Sequence[BlockDistance], num_layers: int) -> None:
    """The best blocks of a few sizes, each named at the top of a line from its point.

    The names descend to the right like stairs, so that no line crosses an earlier name.
    """
    sizes = {min(len(best), math.floor(share * num_layers + 0.5)) for share in NAMED_SHARES}
    named = [best[size - 1] for size in sorted(sizes) if size > 0]
    heights = [0.93 - 0.085 * step for step in range(len(named))]
    for each, height in zip(named, heights, strict=True):
        # The part of the curve under the name has to stay below it.
        below = [other.distance for other in best if each.size <= other.size <= each.size + 0.3 * len(best)]
        axes.set_ylim(0, max(axes.get_ylim()[1], max(below) / (height - 0.07)))
    at_the_head = blended_transform_factory(axes.transData, axes.transAxes)
    for each, height in zip(named, heights, strict=True):
        top = (height + 0.025) * axes.get_ylim()[1]
        axes.plot([each.size, each.size], [each.distance, top], color=MUTED, linewidth=1.5)
        axes.plot([each.size], [each.distance], "o", markersize=10, color=INK)
        axes.annotate(
            f"{name_layers(each.block)}: {each.distance:.3f}",
            xy=(each.size, height),
            xycoords=at_the_head,
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            **LABEL,
        )


def _mark_removed(axes: Axes, block: Block, distance: float, largest: int) -> None:
    """A ring around the point of the removed block, and its name."""
    size = block.end - block.start
    axes.plot([size], [distance], "o", markersize=17, markerfacecolor="none", markeredgecolor=INK, mew=3)
    across, up = (size - 0.5) / largest, distance / axes.get_ylim()[1]
    axes.annotate(
        f"removed: {name_layers(block)}\ndistance {distance:.3f}",
        xy=(size, distance),
        # Up and to the left: the curve rises, so it is not there.
        xytext=(max(0.02, across - 0.3), min(up + 0.12, 0.84)),
        textcoords="axes fraction",
        ha="left",
        va="bottom",
        arrowprops={"arrowstyle": "-", "color": INK, "shrinkB": 11},
        **LABEL,
    )
