"""The style of all pictures: size, colours, axes, the mark of a removed layer, and the bytes of the PNG.

The object interface of matplotlib leaves no global state behind. The background is opaque, so that one
picture suits the Hub's light and dark mode. The colours are Okabe and Ito's and cividis, which people with
any colour vision can distinguish. A label or a hatch shows every distinction too.
"""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from hf_prune.records import Block, Plan
from hf_prune.records.blocks import blocks_of

DOTS_PER_INCH = 140
WIDTH = 10.0  # inches: 1400 pixels, which the Hub shows at about half that
BACKGROUND = "#f4f5f7"
GRID = "#d5d9de"
INK = "#1f2933"
MUTED = "#52606d"
BLUE = "#0072b2"
ORANGE = "#e69f00"
VERMILLION = "#d55e00"
GREEN = "#009e73"
FONT_SIZE = 14
REMOVED_LOOK: dict[str, Any] = {"facecolor": BACKGROUND, "edgecolor": "#b3bcc6", "hatch": "////"}


def new_figure(height: float) -> Figure:
    """An empty picture of the usual width. The height is in inches."""
    return Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, facecolor=BACKGROUND)


def style(axes: Axes, title: str) -> None:
    """The look of every pair of axes."""
    axes.set_facecolor(BACKGROUND)
    axes.set_title(title, fontsize=FONT_SIZE + 2, color=INK, loc="left", pad=12)
    axes.tick_params(labelsize=FONT_SIZE, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def whole_numbers() -> MaxNLocator:
    """Ticks at whole numbers, a dozen at most."""
    return MaxNLocator(nbins=12, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)


def add_grid(axes: Axes) -> None:
    """Lines behind everything else."""
    axes.grid(color=GRID, linewidth=1)
    axes.set_axisbelow(True)


def mark_removed(axes: Axes, plan: Plan) -> None:
    """Hatch the columns of the removed layers. The horizontal axis counts layers."""
    for block in plan.blocks:
        axes.axvspan(block.start - 0.5, block.end - 0.5, linewidth=0, zorder=0, **REMOVED_LOOK)


def removed_patch(plan: Plan) -> Patch:
    """The meaning of the hatch, for a legend."""
    return Patch(label=f"removed ({len(plan.removed)})", **REMOVED_LOOK)


def add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One line at the foot of the picture."""
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        frameon=False,
        fontsize=FONT_SIZE,
        labelcolor=INK,
        handlelength=1.6,
        handleheight=1.1,
    )


def name_layers(block: Block) -> str:
    """A block in words."""
    return f"layer {block}" if block.end - block.start == 1 else f"layers {block}"


def first_layers(layers: Sequence[int], room: int) -> str:
    """Layers as ranges, as many as fit into `room` characters, and how many more there are."""
    blocks = blocks_of(layers)
    return first_names(list(map(str, blocks)), room, [block.end - block.start for block in blocks])


def first_names(names: Sequence[str], room: int, counts: Sequence[int] | None = None) -> str:
    """As many names as fit into `room` characters, one at least, and how many more there are.

    `counts` says how many things each name stands for. Without it, each stands for one.
    """
    counts, text = counts or [1] * len(names), ""
    for shown in range(len(names), 0, -1):
        more = sum(counts[shown:])
        text = ", ".join(names[:shown]) + (f" and {more} more" if more else "")
        if len(text) <= room:
            break
    return text


def to_png(figure: Figure) -> bytes:
    """The picture as PNG. The same figure gives the same bytes."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = bytes(canvas.buffer_rgba())
    # matplotlib's own writer would add its version, and an alpha channel that is opaque anyway.
    image = Image.frombytes("RGBA", canvas.get_width_height(), pixels)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
