"""Claims of a record beside what was measured. Nothing here reads a file or runs a model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hf_prune.records import Environment

Value = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of a record, beside what was measured now."""

    name: str
    claimed: Value
    measured: Value | None = None  # None: it was not checked
    tolerance: str | None = None  # how far apart they may be; None: they must be equal
    holds: bool | None = None  # None: it was not checked
    detail: str | None = None  # what differs, or why it was not checked

    def __str__(self) -> str:
        """One line for the user."""
        where = f" ({self.detail})" if self.detail else ""
        return f"{self.name}: claimed {shown(self.claimed)}, found {shown(self.measured)}{where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every claim of one published model, the cheapest to check first."""

    model: str  # what the user asked about
    commit: str | None  # on the Hub
    name: str  # of the run
    schema_version: int  # of its record
    claims: tuple[Claim, ...]
    environment: Environment  # that it was checked in
    seconds: float

    @property
    def failed(self) -> tuple[Claim, ...]:
        """The claims that do not hold."""
        return tuple(claim for claim in self.claims if claim.holds is False)

    @property
    def unchecked(self) -> tuple[Claim, ...]:
        """The claims that could not be checked."""
        return tuple(claim for claim in self.claims if claim.holds is None)

    @property
    def verdict(self) -> str:
        """One line: the first claim that fails, or how many hold."""
        if self.failed:
            return f"does not hold: {self.failed[0]}"
        held = len(self.claims) - len(self.unchecked)
        names = ", ".join(claim.name for claim in self.unchecked)
        left = f"; {len(self.unchecked)} not checked: {names}" if names else ""
        return f"{held} claims hold{left}"


def shown(value: Value | None) -> str:
    """A value as people read it."""
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def equal(name: str, claimed: Value, measured: Value, detail: str | None = None) -> Claim:
    """A claim that holds if both values are equal; `detail` says what differs."""
    holds = claimed == measured
    detail = None if holds else detail
    return Claim(name=name, claimed=claimed, measured=measured, holds=holds, detail=detail)


def near(name: str, claimed: float, measured: float, share: float) -> Claim:
    """A claim that holds if the values differ by at most a share of the claimed one."""
    shown = measured if math.isfinite(measured) else "NaN"
    holds, tolerance = abs(measured - claimed) <= share * abs(claimed), f"{100 * share:g} %"
    return Claim(name=name, claimed=claimed, measured=shown, tolerance=tolerance, holds=holds)


def within(name: str, claimed: float, measured: float, difference: float, words: str) -> Claim:
    """A claim that holds if the values differ by at most `difference`; `words` says that to the user."""
    holds = abs(measured - claimed) <= difference + 1e-9
    return Claim(name=name, claimed=claimed, measured=measured, tolerance=words, holds=holds)


def at_most(name: str, claimed: int, measured: int, detail: str) -> Claim:
    """A claim that holds if `measured` is at most `claimed`; `detail` says what is too much."""
    tolerance, holds = "or fewer", measured <= claimed
    reason = None if holds else detail
    return Claim(
        name=name, claimed=claimed, measured=measured, tolerance=tolerance, holds=holds, detail=reason
    )


def broken(name: str, claimed: Value, measured: Value, detail: str) -> Claim:
    """A claim that does not hold, whatever the values."""
    return Claim(name=name, claimed=claimed, measured=measured, holds=False, detail=detail)


def unchecked(name: str, claimed: Value, reason: str) -> Claim:
    """A claim that cannot be checked here."""
    return Claim(name=name, claimed=claimed, detail=reason)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first names of a list, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
