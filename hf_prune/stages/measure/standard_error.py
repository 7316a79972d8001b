"""How far a mean may be off."""

import math
import statistics
from collections.abc import Sequence


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of a sample; 0 where one value alone says nothing about it."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
