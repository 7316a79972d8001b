"""Stability is the paper's formula, computed by hand; the released code's sum is another."""

import math

import pytest

from hf_prune.records import Answer
from hf_prune.stages.evaluate.items import Item, Items
from hf_prune.stages.evaluate.stability import (
    compare,
    effective_number,
    item_weights,
    loss_spread,
    stability,
)

# Spreads of 0, ln 2 and ln 3 about a mean: the weights are 1/6, 2/6 and 3/6.
ORIGINAL = (
    Answer(losses=(2.0, 2.0), is_right=True),
    Answer(losses=(3.0 - math.log(2), 3.0 + math.log(2)), is_right=True),
    Answer(losses=(5.0 + math.log(3), 5.0 - math.log(3)), is_right=False),
)


def variant(*right: bool) -> tuple[Answer, ...]:
    return tuple(Answer(losses=(9.0, 9.5), is_right=each) for each in right)


def test_weights_are_a_softmax_of_the_population_deviation_of_the_original_s_losses():
    assert item_weights(ORIGINAL) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert loss_spread(Answer(losses=(1.0, 2.0, 6.0), is_right=True)) == pytest.approx(math.sqrt(14 / 3))


def test_stability_is_the_weight_of_items_that_both_have_right_or_both_have_wrong():
    weights = item_weights(ORIGINAL)
    assert stability(weights, ORIGINAL, variant(True, True, False)) == pytest.approx(1.0)
    assert stability(weights, ORIGINAL, variant(False, False, True)) == 0.0
    assert stability(weights, ORIGINAL, variant(True, False, True)) == pytest.approx(1 / 6)
    assert stability(weights, ORIGINAL, variant(False, True, True)) == pytest.approx(2 / 6)


def test_of_items_that_agree_their_own_weights_count_not_the_first_so_many():
    weights, agrees_on_the_last = item_weights(ORIGINAL), variant(False, False, False)
    released = sum(
        weights[: sum(a.is_right == b.is_right for a, b in zip(ORIGINAL, agrees_on_the_last, strict=True))]
    )
    assert released == pytest.approx(1 / 6)
    assert stability(weights, ORIGINAL, agrees_on_the_last) == pytest.approx(3 / 6)


def test_spreads_beyond_any_exponential_leave_one_item_and_overflow_nothing():
    wild = (
        Answer(losses=(1.0, 1e6), is_right=True),
        Answer(losses=(1.0, 20.0), is_right=True),
        Answer(losses=(1.0, 2.0), is_right=False),
    )
    weights = item_weights(wild)
    assert weights == [1.0, 0.0, 0.0]
    assert effective_number(weights) == 1.0


def test_equal_weights_amount_to_all_items():
    assert effective_number([0.2] * 5) == pytest.approx(5.0)
    assert effective_number(item_weights(ORIGINAL)) == pytest.approx(36 / 14)


def test_a_variant_is_compared_with_the_original_and_the_original_with_nothing():
    items = Items(
        "own", (Item((1,), ((2,), (3,)), 0), Item((1,), ((2,),) * 4, 0), Item((1,), ((2,),) * 4, 0))
    )
    dense = compare(items, "dense", ORIGINAL, ORIGINAL)
    assert (dense.variant, dense.num_items, dense.chance) == ("dense", 3, pytest.approx(1 / 3))
    assert dense.accuracy == pytest.approx(2 / 3)
    assert dense.accuracy_stderr == pytest.approx(math.sqrt(2 / 9 / 2))
    assert (dense.agreement, dense.stability) == (None, None)
    cut = compare(items, "cut", variant(False, True, True), ORIGINAL)
    assert cut.accuracy == pytest.approx(2 / 3)
    assert cut.agreement == pytest.approx(1 / 3)
    assert cut.stability == pytest.approx(2 / 6)
    assert cut.stability_items == pytest.approx(36 / 14)


def test_a_single_item_has_no_error():
    items, one = Items("own", (Item((1,), ((2,), (3,)), 0),)), ORIGINAL[:1]
    assert compare(items, "dense", one, one).accuracy_stderr == 0
