"""What was tried: the results, and the reason why some are missing."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Generic[Result]):
    """Results of one kind, and why some or all of them are missing.

    Without results and without a reason, nothing was asked for.
    """

    found: tuple[Result, ...] = ()
    reason: str | None = None


NOT_ASKED_FOR: Attempt[Any] = Attempt()
