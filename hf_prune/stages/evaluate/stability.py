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
from collections.abc import Callable, Sequence
from dataclasses import replace

from hf_prune.records import Answer, Answers, Choices
from hf_prune.stages.evaluate.items import Items

LARGEST_LOSS = 700.0  # nats per token whose exponential is still a number


def loss_spread(answer: Answer) -> float:
    """The standard deviation of the options' losses, in nats per token."""
    return statistics.pstdev(answer.losses)


def perplexity_spread(answer: Answer) -> float:
    """The standard deviation of the options' perplexities."""
    return statistics.pstdev(math.exp(min(loss, LARGEST_LOSS)) for loss in answer.losses)


def stability(weights: Sequence[float], original: Sequence[Answer], variant: Sequence[Answer]) -> float:
    """The weight of the items on which two models are both right or both wrong; 1 is the most.

    Args:
        weights: of the items, from `item_weights`.
        original: what the original answered.
        variant: what the variant answered, to the same items in the same order.
    """
    pairs = zip(weights, original, variant, strict=True)
    return math.fsum(weight for weight, one, other in pairs if one.is_right == other.is_right)


def item_weights(original: Sequence[Answer], spread: Callable[[Answer], float] = loss_spread) -> list[float]:
    """A softmax of the spreads of what the original answered; they sum to 1.

    Args:
        original: its answers.
        spread: `loss_spread` or `perplexity_spread`.
    """
    spreads = [spread(answer) for answer in original]
    largest = max(spreads)  # subtracted: of what is left nothing overflows
    powers = [math.exp(each - largest) for each in spreads]
    total = math.fsum(powers)
    return [power / total for power in powers]


def effective_number(weights: Sequence[float]) -> float:
    """How many items of equal weight these amount to: 1 / the sum of their squares (Kish)."""
    return 1 / math.fsum(weight * weight for weight in weights)


def compare(items: Items, variant: Answers, original: Answers) -> Choices:
    """A variant's accuracy, and how far it agrees with the original.

    Args:
        items: what was asked.
        variant: what it answered; of the original itself there is no agreement to speak of.
        original: what the original answered.
    """
    count, ours, theirs = len(items.items), variant.answers, original.answers
    accuracy = sum(answer.is_right for answer in ours) / count
    choices = Choices(
        variant=variant.variant,
        name=items.name,
        num_items=count,
        sha256=items.sha256,
        chance=statistics.fmean(1 / len(item.options) for item in items.items),
        accuracy=accuracy,
        accuracy_stderr=math.sqrt(accuracy * (1 - accuracy) / max(count - 1, 1)),
    )
    if variant is original:
        return choices
    weights, literal = item_weights(theirs), item_weights(theirs, perplexity_spread)
    return replace(
        choices,
        agreement=stability([1 / count] * count, theirs, ours),
        stability=stability(weights, theirs, ours),
        stability_items=effective_number(weights),
        literal_stability=stability(literal, theirs, ours),
        literal_stability_items=effective_number(literal),
    )
