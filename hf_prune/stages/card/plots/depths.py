"""The depths of a sorted model: the quality and the cost of its first layers as a model of their own."""

from collections.abc import Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hf_prune.records import Depth, Speed
from hf_prune.stages.card.plots.panels import RIGHT, set_up_panel, share_axis, stacked_panels
from hf_prune.stages.card.plots.scales import Scale, choose_scale
from hf_prune.stages.card.plots.style import BACKGROUND, BLUE, MUTED, add_legend, to_png

QUALITY, COST = 2.6, 1.6  # inches
WIDE_RANGE = 4.0  # times the least: from there on a perplexity is read on a log scale
LEAST_DISTANCE = 1 / 26  # of the axis, between the numbers of two depths
TRAINED: dict[str, Any] = {"color": BLUE, "marker": "o", "markersize": 9, "linewidth": 2.5}
TRUNCATED: dict[str, Any] = {
    "color": MUTED,
    "marker": "s",
    "markersize": 9,
    "markerfacecolor": BACKGROUND,
    "markeredgewidth": 2,
    "linewidth": 2,
    "linestyle": (0, (5, 3)),
}
WEIGHTS: dict[str, Any] = {**TRAINED, "markerfacecolor": BACKGROUND, "markeredgewidth": 2, "linewidth": 1.5}


def depths(depths: Sequence[Depth]) -> bytes:
    """Perplexity, speed and memory of each depth, in a panel each, without speed if it was not measured.

    There are two depths at least, the shallowest first.
    """
    speeds = [(depth.layers, depth.speed) for depth in depths if depth.speed is not None]
    title = "The first layers as a model of their own, by their number"
    heights = [QUALITY, COST, COST] if speeds else [QUALITY, COST]
    figure, panels = stacked_panels(title, heights, RIGHT, legend=True)
    counts = [depth.layers for depth in depths]
    margin = 0.04 * (counts[-1] - counts[0]) or 0.5
    limits = (counts[0] - margin, counts[-1] + margin)
    share_axis(panels, limits, _ticks(counts), "layers")
    _show_quality(panels[0], depths)
    if speeds:
        _show_speed(panels[1], speeds)
    _show_memory(panels[-1], depths, speeds)
    legend: list[Artist] = [
        Line2D([], [], label="of this model", **TRAINED),
        Line2D([], [], label="of the original", **TRUNCATED),
        Line2D([], [], label="weights only", **WEIGHTS),
    ]
    add_legend(figure, legend)
    return to_png(figure)


def _ticks(counts: Sequence[int]) -> list[float]:
    """The depths whose numbers have room. The last always has."""
    least = LEAST_DISTANCE * (counts[-1] - counts[0])
    ticks = [counts[-1]]
    for count in reversed(counts[:-1]):
        if ticks[-1] - count >= least:
            ticks.append(count)
    return [float(tick) for tick in reversed(ticks)]


def _show_quality(axes: Axes, depths: Sequence[Depth]) -> None:
    counts = [depth.layers for depth in depths]
    trained = [depth.perplexity.perplexity for depth in depths]
    truncated = [depth.truncated.perplexity for depth in depths]
    low, high = min(trained + truncated), max(trained + truncated)
    scale = choose_scale(trained, truncated)
    if high > WIDE_RANGE * low:
        scale = Scale("log", low / 1.25, high * 1.25)
    set_up_panel(axes, "Perplexity on held-out text: lower is better", scale)
    axes.plot(counts, truncated, clip_on=False, **TRUNCATED)
    axes.plot(counts, trained, clip_on=False, **TRAINED)


def _show_speed(axes: Axes, speeds: Sequence[tuple[int, Speed]]) -> None:
    """The median of each depth, and the slowest and the fastest of its runs."""
    medians = [speed.decode_tokens_per_second for _, speed in speeds]
    spreads = [speed.decode_tokens_per_second_range for _, speed in speeds]
    scale = _from_zero([most for _, most in spreads])
    note = f"median and range of {speeds[0][1].runs} runs, from 0"
    set_up_panel(axes, "Decoding, tokens/s", scale, note)
    lengths = [
        [median - least for median, (least, _) in zip(medians, spreads, strict=True)],
        [most - median for median, (_, most) in zip(medians, spreads, strict=True)],
    ]
    counts = [layers for layers, _ in speeds]
    axes.errorbar(counts, medians, yerr=lengths, elinewidth=2, capsize=5, **TRAINED)


def _show_memory(axes: Axes, depths: Sequence[Depth], speeds: Sequence[tuple[int, Speed]]) -> None:
    largest = max([depth.size_bytes for depth in depths] + [speed.peak_memory_bytes for _, speed in speeds])
    unit, name = (1e9, "GB") if largest >= 1e9 else (1e6, "MB")
    title = "Peak memory of the process, and the weights" if speeds else "Size of the weights"
    set_up_panel(axes, f"{title}, {name}", _from_zero([largest / unit]), "from 0")
    if speeds:
        peaks = [speed.peak_memory_bytes / unit for _, speed in speeds]
        axes.plot([layers for layers, _ in speeds], peaks, clip_on=False, **TRAINED)
    sizes = [depth.size_bytes / unit for depth in depths]
    axes.plot([depth.layers for depth in depths], sizes, clip_on=False, **WEIGHTS)


def _from_zero(values: Sequence[float]) -> Scale:
    return Scale("linear", 0.0, 1.15 * max(values))
