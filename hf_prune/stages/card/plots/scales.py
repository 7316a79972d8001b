"""A vertical scale that keeps the values distinct, its ticks, and its name."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import (
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullLocator,
    SymmetricalLogLocator,
)

from hf_prune.records.numbers import short_number

SKEWED = 20.0  # times the median: a linear axis would press the other values onto a line
FAINT = 100.0  # times below the median: noise about zero, which takes no decades of its own
TICK_DISTANCE = 34  # pixels, at least
# Multiples of a power of ten that carry a tick, and the smallest distance between two in powers of ten.
MULTIPLES = (((1, 2, 5), math.log10(2)), ((1, 3), math.log10(3)), ((1,), 0.0))


@dataclass(frozen=True, slots=True)
class Scale:
    """How values become heights."""

    kind: str  # as matplotlib calls it: "linear", "log" or "symlog"
    bottom: float
    top: float
    linear_within: float = 0.0  # of "symlog"

    @property
    def label(self) -> str:
        """What you have to know to read the axis."""
        if self.kind == "symlog":
            return f"log scale, linear within \N{PLUS-MINUS SIGN}{self.linear_within:g}"
        if self.kind == "log":
            return "log scale"
        origin = "" if self.bottom <= 0 else ", not from 0"
        return f"linear scale{origin}" + ("" if self.unit == 1 else f", in {short_number(self.unit)}")

    @property
    def unit(self) -> float:
        """The numbers on the axis are multiples of this, so that they stay short."""
        largest = max(abs(self.bottom), abs(self.top))
        return 1.0 if self.kind != "linear" or 1e-3 <= largest < 1e4 else _decade(largest)


def choose_scale(values: Sequence[float], also_shown: Sequence[float] = ()) -> Scale:
    """A scale for these values that has room for others too.

    It is linear if possible and logarithmic if one value towers over the rest. If some values are negative,
    zero or next to zero, the logarithmic scale has a linear part around zero.
    """
    sizes = [abs(value) for value in values]
    median, largest = statistics.median(sizes), max(sizes)
    low, high = min([*values, *also_shown]), max([*values, *also_shown])
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
    """Give the vertical axis a scale and its ticks. The axes must already be placed in the figure."""
    if scale.kind == "symlog":
        axes.set_yscale("symlog", linthresh=scale.linear_within)
    else:
        axes.set_yscale(scale.kind)
    axes.set_ylim(scale.bottom, scale.top)
    axes.yaxis.set_major_locator(_locator(axes, scale))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value / scale.unit)))


def _locator(axes: Axes, scale: Scale) -> Locator:
    """Ticks at round values, as many as have room."""
    room = axes.get_window_extent().height / TICK_DISTANCE
    if scale.kind == "linear":
        return MaxNLocator(nbins=max(2, min(int(room / 1.3), 8)), steps=[1, 2, 5, 10])
    first = scale.linear_within or scale.bottom
    (_, one), (_, ten) = axes.transData.transform([(0, first), (0, 10 * first)])
    multiples = next(m for m, distance in MULTIPLES if distance * (ten - one) >= TICK_DISTANCE or m == (1,))
    if scale.kind == "log":
        return LogLocator(subs=multiples, numticks=max(2, int(room)))
    locator = SymmetricalLogLocator(base=10, linthresh=scale.linear_within, subs=multiples)
    locator.set_params(numticks=max(2, int(room)))
    return locator
