"""What counts as holding."""

import json
import math
from dataclasses import asdict

import pytest

from hf_prune.commands.verify.claims import (
    Claim,
    Verification,
    at_most,
    broken,
    equal,
    listed,
    near,
    unchecked,
    within,
)
from tests.support.sample_run import sample_environment


def verification(*claims: Claim) -> Verification:
    return Verification(
        model="acme/tiny-4L",
        commit=None,
        name="tiny-4L",
        schema_version=5,
        claims=claims,
        environment=sample_environment(),
        seconds=1.0,
    )


@pytest.mark.parametrize(
    ("measured", "holds"), [(40.19, True), (39.81, True), (40.21, False), (39.79, False)]
)
def test_a_perplexity_may_be_off_by_a_share_of_what_is_claimed(measured: float, holds: bool) -> None:
    assert near("perplexity", 40.0, measured, 0.005).holds is holds


@pytest.mark.parametrize("measured", [math.inf, math.nan])
def test_a_perplexity_that_is_no_number_does_not_hold_and_can_be_written_as_json(measured: float) -> None:
    claim = near("perplexity", 40.0, measured, 0.005)
    assert claim.holds is False
    json.dumps(asdict(claim), allow_nan=False)


@pytest.mark.parametrize(("right", "holds"), [(42, True), (40, True), (44, True), (39, False), (45, False)])
def test_an_accuracy_may_be_off_by_some_items(right: int, holds: bool) -> None:
    assert within("accuracy", 42 / 64, right / 64, 2 / 64, "2 of 64 items").holds is holds


def test_the_verdict_names_the_first_claim_that_fails() -> None:
    claims = (equal("layers", 4, 4), equal("dtype", "F32", "F16", "why"), near("perplexity", 1.0, 2.0, 0.1))
    found = verification(*claims)
    assert [claim.name for claim in found.failed] == ["dtype", "perplexity"]
    assert found.verdict == "does not hold: dtype: claimed F32, found F16 (why)"


def test_what_was_not_checked_is_named_and_is_no_failure() -> None:
    found = verification(equal("layers", 4, 4), unchecked("speed", "2 figures", "depends on the machine"))
    assert found.failed == ()
    assert found.verdict == "1 claims hold; 1 not checked: speed"


def test_a_broken_claim_fails_whatever_it_looks_like() -> None:
    assert broken("files", "same", "same", "missing").holds is False


@pytest.mark.parametrize(("measured", "holds"), [(2, True), (3, True), (4, False)])
def test_of_what_may_be_fewer_no_more_holds(measured: int, holds: bool) -> None:
    assert at_most("trained tensors", 3, measured, "too many").holds is holds


def test_many_names_are_cut_short() -> None:
    assert listed("abcde") == "a, b, c and 2 more"
    assert listed("abc") == "a, b, c"
