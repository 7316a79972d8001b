"""Which schedules are let through to the Hub."""

import pytest

from hf_prune.commands.jobs.cron import check_cron
from hf_prune.errors import RecipeError


@pytest.mark.parametrize(
    "schedule",
    [
        "0 3 * * 1",
        "*/15 * * * *",
        "0,30 9-17 1 jan,JUL mon-fri",
        "5 0 31 12 7",
        "0 0 1-15/2 * *",
        "@weekly",
        "@hourly",
    ],
)
def test_lets_a_schedule_through(schedule: str) -> None:
    check_cron(schedule)


@pytest.mark.parametrize(
    ("schedule", "named"),
    [
        ("0 3 * *", "neither five fields"),
        ("@fortnightly", "neither five fields"),
        ("", "neither five fields"),
        ("60 3 * * 1", "'60' is no minute, which is 0 to 59"),
        ("0 24 * * 1", "'24' is no hour"),
        ("0 3 0 * *", "'0' is no day of the month"),
        ("0 3 * 13 *", "'13' is no month"),
        ("0 3 * * 8", "'8' is no day of the week"),
        ("0 3 * * mo", "'mo' is no day of the week"),
        ("30-10 3 * * 1", "'30-10' is no minute"),
        ("*/0 3 * * 1", "'*/0' is no minute"),
        ("*/ 3 * * 1", "'*/' is no minute"),
        ("1, 3 * * 1", "'1,' is no minute"),
        ("-5 3 * * 1", "'-5' is no minute"),
    ],
)
def test_says_what_is_wrong_with_a_schedule(schedule: str, named: str) -> None:
    with pytest.raises(RecipeError, match="--cron") as raised:
        check_cron(schedule)
    assert named in str(raised.value)
