"""A vertical scale that shows what is asked of it, and says what it is."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

SKEWED = 20.0  # times the median: a linear axis would press the other values onto a line
FAINT = 100.0  # times below the median: noise about zero, which takes no decades of its own
TICK_DISTANCE = 34  # pixels, at least
MULTIPLES = ((1, 2, 5), (1, 3), (1,))  # of a power of ten that carry a tick; the richest that fits


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become heights."""

    kind: str  # as matplotlib calls it: "linear", "log" or "symlog"
    bottom: float
    top: float
    linear_within: float = 0.0  # of "symlog"

    @property
    def label(self) -> str:
        """What the reader has to know to read the axis."""
        if self.kind == "symlog":
            return f"log scale, linear within \N{PLUS-MINUS SIGN}{self.linear_within:g}"
        if self.kind == "log":
            return "log scale"
        origin = "" if self.bottom <= 0 else ", not from 0"
        return f"linear scale{origin}" + ("" if self.unit == 1 else f", in {plain(self.unit)}")

    @property
    def unit(self) -> float:
        """What the numbers on the axis are multiples of, so that they stay short."""
        largest = max(abs(self.bottom), abs(self.top))
        return 1.0 if self.kind != "linear" or 1e-3 <= largest < 1e4 else _decade(largest)


def choose_scale(values: Sequence[float], shown: Sequence[float] = ()) -> Scale:
    """A scale on which most of the values can be told apart.

    Linear where it can be; logarithmic where one value towers over the rest; and that with a linear part
    around 0 where values are negative, zero or next to it.

    Args:
        values: what the scale is for.
        shown: other values that are to be within it.
    """
    sizes = [abs(value) for value in values]
    median, largest = statistics.median(sizes), max(sizes)
    low, high = min([*values, *shown]), max([*values, *shown])
    if largest <= SKEWED * median or largest == 0:
        return _linear(low, high)
    if min(values) > median / FAINT:
        margin = max(1.3, (high / low) ** 0.1)
        return Scale("log", low / margin, high * margin)
    linear_within = _decade(2 * median or largest / 100)
    if low < 0:  # below zero all is linear
        linear_within = max(linear_within, 10 * _decade(-low))
    if linear_within >= largest:
        return _linear(low, high)
    return Scale("symlog", min(low, 0.0) - 0.2 * linear_within, high * 1.4, linear_within)


def _decade(value: float) -> float:
    """The power of ten at or below a value."""
    return float(f"1e{math.floor(math.log10(value))}")


def _linear(low: float, high: float) -> Scale:
    if 0 < 0.5 * high <= low < high:
        margin = 0.1 * (high - low)
        return Scale("linear", low - margin, high + margin)
    low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.1 * (high - low) or 1.0
    return Scale("linear", low - margin, high + margin)


def set_scale(axes: Axes, scale: Scale) -> None:
    """Give the vertical axis a scale and its ticks; the axes already have their place in the figure."""
    if scale.kind == "symlog":
        axes.set_yscale("symlog", linthresh=scale.linear_within)
    else:
        axes.set_yscale(scale.kind)
    axes.set_ylim(scale.bottom, scale.top)
    height = axes.get_window_extent().height
    if scale.kind == "linear":
        intervals = max(2, int(height / TICK_DISTANCE / 1.3))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=min(intervals, 8), steps=[1, 2, 5, 10]))
    else:
        axes.yaxis.set_major_locator(FixedLocator(_ticks(axes, scale)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value / scale.unit)))


def plain(value: float) -> str:
    """A number as people write it, short: 0.003, 20, 1.2e6."""
    value = float(f"{value:.6g}")
    if value == 0 or 1e-4 <= abs(value) < 1e5:
        return f"{value:g}".replace("-", "\N{MINUS SIGN}")
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}".replace("-", "\N{MINUS SIGN}")


def _ticks(axes: Axes, scale: Scale) -> list[float]:
    """Powers of ten and round multiples of them, as many as have room."""
    ticks: list[float] = []
    for multiples in MULTIPLES:
        ticks = _round_values(scale, multiples)
        heights = [axes.transData.transform((0, tick))[1] for tick in ticks]
        steps = [above - below for below, above in pairwise(heights)]
        if min(steps, default=math.inf) >= TICK_DISTANCE:
            return ticks
    return ticks[:: math.ceil(TICK_DISTANCE / max(min(steps), 1.0))]


def _round_values(scale: Scale, multiples: Sequence[int]) -> list[float]:
    smallest = scale.linear_within or scale.bottom
    decades = range(math.floor(math.log10(smallest)), math.ceil(math.log10(scale.top)) + 1)
    sizes = [float(f"{multiple}e{decade}") for decade in decades for multiple in multiples]
    values = [size for size in sizes if size >= smallest]
    if scale.kind == "symlog":
        values = [-value for value in reversed(values)] + [0.0] + values
    return [value for value in values if scale.bottom <= value <= scale.top]
