"""How far a variant's choices are those of the original, item by item: LLM-Streamline's stability.

Stability (Chen et al., 2403.19135) is the weight of the items on which both models are right or both are
wrong; the weights are a softmax, over items, of how far the original's perplexities of an item's options
spread. The authors' code adds up the first so many weights, as many as there are such items, whichever
those items are; here the formula is followed.

What its authors call perplexity is what OpenCompass, which they measured with, calls so: the mean loss of
an option's tokens in nats, not its exponential. `stability` takes that. True perplexities of wrong options
go into the hundreds and beyond, so that a softmax of their spreads leaves a single item, and the figure is
0 or 1: it is given too, as the formula's words have it, with the number of items that each rests on.
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
    """The weight of the items on which two models are both right or both wrong; 1 is the most.

    Args:
        weights: of the items, from `item_weights`.
        original: what the original answered.
        variant: what the variant answered, to the same items in the same order.
    """
    pairs = zip(weights, original, variant, strict=True)
    return math.fsum(weight for weight, one, other in pairs if one.is_right == other.is_right)


def item_weights(original: Sequence[Answer]) -> list[float]:
    """A softmax of the spreads of what the original answered; they sum to 1."""
    spreads = [loss_spread(answer) for answer in original]
    largest = max(spreads)  # subtracted: of what is left nothing overflows
    powers = [math.exp(each - largest) for each in spreads]
    total = math.fsum(powers)
    return [power / total for power in powers]


def effective_number(weights: Sequence[float]) -> float:
    """How many items of equal weight these amount to: 1 / the sum of their squares (Kish)."""
    return 1 / math.fsum(weight * weight for weight in weights)


def compare(items: Items, variant: str, answers: Sequence[Answer], original: Sequence[Answer]) -> Choices:
    """A variant's accuracy, and how far it agrees with the original.

    Args:
        items: what was asked.
        variant: its name.
        answers: what it answered; the original itself has no agreement.
        original: what the original answered.
    """
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
