"""The standard error of a mean."""

import pytest

from hf_prune.stages.measure.standard_error import standard_error


def test_it_is_the_deviation_over_the_root_of_the_count():
    assert standard_error([1.0, 2.0, 3.0, 4.0]) == pytest.approx((5 / 3) ** 0.5 / 2)


def test_a_single_value_or_equal_values_have_none():
    assert standard_error([3.0]) == 0.0
    assert standard_error([2.0, 2.0, 2.0]) == 0.0
