"""Stability: how far a variant's choices are the original's, item by item (LLM-Streamline, 2403.19135).

Stability is the summed weight of the items on which both models are right or both are wrong. The weights are
a softmax over items of the spread of the original's losses over an item's options. The authors' released code
sums the first n weights, where n is the number of such items. This module follows the paper's formula.

The paper says "perplexity" where OpenCompass, its harness, computes the mean loss of an option in nats. This
module takes that loss. See docs/notes/evaluation.md for what true perplexities would give.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from hf_prune.records import Answer, Choices
from hf_prune.stages.evaluate.items import Items


def loss_spread(answer: Answer) -> float:
    """The standard deviation of the options' losses, in nats per token."""
    return statistics.pstdev(answer.losses)


def stability(weights: Sequence[float], original: Sequence[Answer], variant: Sequence[Answer]) -> float:
    """The summed weight, from 0 to 1, of the items on which two models are both right or both wrong."""
    pairs = zip(weights, original, variant, strict=True)
    return math.fsum(weight for weight, one, other in pairs if one.is_right == other.is_right)


def item_weights(original: Sequence[Answer]) -> list[float]:
    """A softmax of the spread of the original's losses on each item; the weights sum to 1."""
    spreads = [loss_spread(answer) for answer in original]
    largest = max(spreads)  # subtracted, so that no exponential overflows
    powers = [math.exp(each - largest) for each in spreads]
    total = math.fsum(powers)
    return [power / total for power in powers]


def effective_number(weights: Sequence[float]) -> float:
    """How many items of equal weight these weights amount to: 1 / the sum of their squares (Kish)."""
    return 1 / math.fsum(weight * weight for weight in weights)


def compare(items: Items, variant: str, answers: Sequence[Answer], original: Sequence[Answer]) -> Choices:
    """A variant's accuracy, and its agreement with the original, which the original itself does not have."""
    count = len(items.items)
    accuracy = sum(answer.is_right for answer in answers) / count
    choices = Choices(
        variant=variant,
        name=items.name,
        num_items=count,
        sha256=items.sha256,
        chance=statistics.fmean(1 / len(item.options) for item in items.items),
        accuracy=accuracy,
        accuracy_stderr=math.sqrt(accuracy * (1 - accuracy) / max(count - 1, 1)),
    )
    if answers is original:
        return choices
    weights = item_weights(original)
    return replace(
        choices,
        agreement=stability([1 / count] * count, original, answers),
        stability=stability(weights, original, answers),
        stability_items=effective_number(weights),
    )
