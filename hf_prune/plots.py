"""The card's pictures: from a record to the bytes of a PNG; nothing is read, nothing is written.

The object interface of matplotlib leaves no global state behind. The background is opaque, so that
one picture reads in the Hub's light and dark mode. The colours are Okabe and Ito's and cividis,
which people with any colour vision tell apart; a label or a hatch carries every distinction too.
"""

import io
import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

from hf_prune.records import Block, Bridge, Plan, Similarity

DOTS_PER_INCH = 140
WIDTH = 10.0  # inches: 1400 pixels, which the Hub shows at about half that
BACKGROUND = "#f4f5f7"
INK = "#1f2933"
MUTED = "#52606d"
BLUE = "#0072b2"
ORANGE = "#e69f00"
FONT_SIZE = 14
NAMED_BLOCKS = 6  # more labels than these would hide the boxes
LAYERS_PER_ROW = 32  # two digits still fit into a cell
LAYERS_PER_ROW_OF_THREE_DIGITS = 24
LAYERS_PER_ROW_AT_LEAST = 12  # a cell of a shallow model does not fill the page


def similarity_heatmap(similarity: Similarity, plan: Plan) -> bytes:
    """The angular distance between every two layer boundaries, the removed blocks outlined."""
    figure = Figure(figsize=(WIDTH, 8.4), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)
    axes = figure.add_axes((0.085, 0.095, 0.75, 0.84))
    image = axes.imshow(
        similarity.angular_last_token, cmap="cividis", origin="lower", interpolation="nearest"
    )
    _style(axes, "Angular distance between layer boundaries, at the last token")
    boundary = f"boundary: input of layer n ({similarity.num_layers}: output of the last)"
    axes.set_xlabel(boundary, fontsize=FONT_SIZE, color=INK)
    axes.set_ylabel(boundary, fontsize=FONT_SIZE, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=12, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    nameable = len(plan.blocks) <= NAMED_BLOCKS
    labelled_to = -math.inf
    for block in plan.blocks:
        _outline(axes, block)
        # A box that is nearer to the last than a line of text is high goes without a name.
        if nameable and block.end - labelled_to > 0.05 * similarity.num_layers:
            _name(axes, block, similarity)
            labelled_to = block.end
    bar = figure.colorbar(image, cax=figure.add_axes((0.865, 0.095, 0.03, 0.84)))
    bar.ax.tick_params(labelsize=FONT_SIZE, colors=INK)
    bar.set_label("arccos(cosine) / π   (0.5: orthogonal)", fontsize=FONT_SIZE, color=INK)
    return _png(figure)


def _outline(axes: Axes, block: Block) -> None:
    """A box around the boundaries of a block; its upper left cell is the distance across it."""
    corner, side = block.start - 0.5, block.end - block.start + 1
    box = Rectangle((corner, corner), side, side, fill=False, edgecolor="white", linewidth=2.5, clip_on=False)
    box.set_path_effects([withStroke(linewidth=5.5, foreground="black")])
    axes.add_patch(box)


def _name(axes: Axes, block: Block, similarity: Similarity) -> None:
    """What the box holds: on the side that has more room, or inside a box that leaves none."""
    before, behind = block.start, similarity.num_layers - block.end
    inside = max(before, behind) < 0.3 * similarity.num_layers
    on_left = before > behind and not inside
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


def best_distance_per_block_size(plan: Plan) -> bytes:
    """How far apart the ends of the best block of each size are, and where this cut stands."""
    figure = Figure(figsize=(WIDTH, 5.4), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)
    axes = figure.add_axes((0.095, 0.14, 0.88, 0.76))
    sizes = [best.size for best in plan.best_blocks]
    distances = [best.distance for best in plan.best_blocks]
    axes.plot(
        sizes,
        distances,
        color=BLUE,
        linewidth=2.5,
        marker="o",
        markersize=6 if len(sizes) <= 64 else 3,
    )
    _style(axes, "Smallest angular distance across a block, for each block size")
    axes.set_xlabel("layers in the block", fontsize=FONT_SIZE, color=INK)
    axes.set_ylabel("arccos(cosine) / π", fontsize=FONT_SIZE, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axes.set_xlim(0.5, max(sizes) + 0.5)
    axes.set_ylim(0, 1.18 * max([*distances, plan.distance or 0.0]) or 1.0)
    axes.grid(color="#d5d9de", linewidth=1)
    axes.set_axisbelow(True)
    if plan.distance is not None:
        _mark(axes, plan.blocks[0], plan.distance, max(sizes))
    return _png(figure)


def _mark(axes: Axes, block: Block, distance: float, largest: int) -> None:
    """A ring around the block that was removed, and its name."""
    size = block.end - block.start
    axes.plot([size], [distance], "o", markersize=17, markerfacecolor="none", markeredgecolor=INK, mew=3)
    across, up = (size - 0.5) / largest, distance / axes.get_ylim()[1]
    axes.annotate(
        f"removed: {_layers(block)}\ndistance {distance:.3f}",
        xy=(size, distance),
        # Up and to the left: the curve rises, so nothing of it is there.
        xytext=(max(0.02, across - 0.3), min(up + 0.12, 0.84)),
        textcoords="axes fraction",
        ha="left",
        va="bottom",
        fontsize=FONT_SIZE,
        color=INK,
        bbox={"facecolor": BACKGROUND, "edgecolor": "none", "alpha": 0.85, "pad": 2},
        arrowprops={"arrowstyle": "-", "color": INK, "shrinkB": 11},
    )


def layer_map(plan: Plan, bridge: Bridge) -> bytes:
    """The original's layers in order: which stay, which go, and which carry a bridge."""
    fitting = LAYERS_PER_ROW if plan.num_layers <= 100 else LAYERS_PER_ROW_OF_THREE_DIGITS
    rows = math.ceil(plan.num_layers / fitting)
    per_row = math.ceil(plan.num_layers / rows)
    columns = max(per_row, LAYERS_PER_ROW_AT_LEAST)
    row_height, legend_height = 0.78, 0.62
    height = rows * row_height + legend_height + 0.15
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)
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
    figure.legend(
        handles=named,
        loc="lower center",
        ncols=len(named),
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=INK,
        handlelength=1.6,
        handleheight=1.1,
    )
    return _png(figure)


def _legend(plan: Plan, bridge: Bridge) -> list[tuple[str, str]]:
    labels = [("kept", f"kept ({len(plan.kept)})"), ("removed", f"removed ({len(plan.removed)})")]
    if bridge.folded:
        labels.append(("bridged", f"kept, carries a bridge ({len(bridge.folded)})"))
    return labels


LOOKS: dict[str, dict[str, Any]] = {
    "kept": {"facecolor": BLUE, "edgecolor": BLUE},
    "removed": {"facecolor": BACKGROUND, "edgecolor": "#b3bcc6", "hatch": "////"},
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


def _layers(block: Block) -> str:
    return f"layer {block}" if block.end - block.start == 1 else f"layers {block}"


def _style(axes: Axes, title: str) -> None:
    axes.set_facecolor(BACKGROUND)
    axes.set_title(title, fontsize=FONT_SIZE + 2, color=INK, loc="left", pad=12)
    axes.tick_params(labelsize=FONT_SIZE, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _png(figure: Figure) -> bytes:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = bytes(canvas.buffer_rgba())
    # matplotlib's own writer would add its version, and an alpha channel that is opaque anyway.
    image = Image.frombytes("RGBA", canvas.get_width_height(), pixels)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
