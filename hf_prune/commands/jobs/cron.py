"""Schedules as the Hub takes them: five fields of cron, in UTC, or a word for them."""

from collections.abc import Sequence

from hf_prune.errors import RecipeError

NICKNAMES = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@hourly")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
CRON = (  # the fields of a schedule: lowest, highest, and names that stand for numbers from the lowest on
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of the week", 0, 7, DAYS),
)


def check_cron(schedule: str) -> None:
    """Make sure that a schedule is one that the Hub takes.

    Raises:
        RecipeError: it is not; the message names the field.
    """
    if schedule in NICKNAMES:
        return
    given = schedule.split()
    if len(given) != len(CRON):
        raise RecipeError(
            f"--cron {schedule!r} is neither five fields (minute, hour, day, month, day of the week: "
            f'"0 3 * * 1" is 3:00 UTC each Monday) nor one of {", ".join(NICKNAMES)}'
        )
    for text, (name, lowest, highest, names) in zip(given, CRON, strict=True):
        if not all(_is_cron_part(part, lowest, highest, names) for part in text.lower().split(",")):
            raise RecipeError(f"--cron {schedule!r}: {text!r} is no {name}, which is {lowest} to {highest}")


def _is_cron_part(part: str, lowest: int, highest: int, names: Sequence[str]) -> bool:
    span, _, step = part.partition("/")
    if "/" in part and not (step.isdecimal() and int(step) > 0):
        return False
    if span == "*":
        return True
    first, dash, last = span.partition("-")
    ends = [_cron_number(end, lowest, names) for end in ((first, last) if dash else (first,))]
    numbers = [end for end in ends if end is not None and lowest <= end <= highest]
    return len(numbers) == len(ends) and numbers == sorted(numbers)


def _cron_number(text: str, lowest: int, names: Sequence[str]) -> int | None:
    if text in names:
        return names.index(text) + lowest
    return int(text) if text.isdecimal() else None
