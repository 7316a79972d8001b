"""What is done where the Hub asks to slow down: wait as long as it says, or say when to come again."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from hf_prune import hub as our_hub
from hf_prune.cli.console import quieten_libraries
from hf_prune.errors import HubUnreachable
from hf_prune.hub import waiting
from tests.loopback import Fault, LoopbackHub

BASE = "acme/open"
TOLD = "the Hub asks to slow down: going on in 0 s"


@pytest.fixture
def base(home_hub: LoopbackHub) -> LoopbackHub:
    """The Hub with a model."""
    home_hub.add_repository(BASE, {"config.json": b"{}", "weights.bin": b"x" * 100})
    return home_hub


def limited(times: int = 1, path: str = "^/api/models/acme/open", **headers: str) -> Fault:
    """A refusal for too many requests."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(method="GET", path=path, status=429, times=times, headers=named)


def refusal(status: int, **headers: str) -> httpx2.Response:
    """An answer of the Hub."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, headers=named, request=httpx2.Request("GET", "http://hub"))


@pytest.mark.parametrize("headers", [{"Retry_After": "0"}, {"RateLimit": '"api";r=0;t=0'}])
def test_a_question_is_asked_again_after_the_wait_and_the_wait_is_told(
    base: LoopbackHub, capsys: pytest.CaptureFixture[str], headers: dict[str, str]
) -> None:
    quieten_libraries(quiet=False)
    base.inject(limited(times=2, **headers))
    assert our_hub.look_up(BASE, None).repo_id == BASE
    assert capsys.readouterr().err.splitlines() == [TOLD, TOLD]
    assert [call.status for call in base.calls_to("GET", "^/api/models/")] == [429, 429, 200]


def test_a_wait_of_huggingface_hub_is_told_too(base: LoopbackHub, capsys: pytest.CaptureFixture[str]) -> None:
    quieten_libraries(quiet=False)
    repository = our_hub.look_up(BASE, None)
    base.inject(limited(path="^/storage/", Retry_After="0"))
    our_hub.download(repository, ("weights.bin",))
    # One second more than the Hub asks for.
    assert capsys.readouterr().err.splitlines() == ["the Hub asks to slow down: going on in 1 s"]


def test_where_nothing_is_to_be_told_nothing_is(
    base: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    quieten_libraries(quiet=True)
    base.inject(limited(Retry_After="0"))
    our_hub.look_up(BASE, None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("headers", "when"),
    [
        ({"Retry_After": "3600"}, "in 60 min"),
        ({"RateLimit": '"api";r=0;t=331'}, "in 6 min"),
        ({}, "in a few minutes"),
        ({"RateLimit": '"api";r=12;t=40'}, "in a few minutes"),
    ],
)
def test_a_wait_that_is_long_or_not_said_is_left_to_the_user(
    base: LoopbackHub, headers: dict[str, str], when: str
) -> None:
    base.inject(limited(**headers))
    with pytest.raises(HubUnreachable) as caught:
        our_hub.look_up(BASE, None)
    assert f"the Hub at {base.url} asks to slow down (429) on {BASE}" in str(caught.value)
    assert f"give the same command again {when}; finished stages are kept" in str(caught.value)


def test_a_hub_that_goes_on_asking_is_left(base: LoopbackHub) -> None:
    base.inject(limited(times=waiting.MOST_WAITS + 1, Retry_After="0"))
    with pytest.raises(HubUnreachable, match="asks to slow down"):
        our_hub.look_up(BASE, None)


def test_what_may_be_done_again_is_and_with_its_own_error_in_the_end() -> None:
    asked = []

    def ask() -> None:
        asked.append(1)
        raise HfHubHTTPError("no", response=refusal(404, Retry_After="0"))

    with pytest.raises(HfHubHTTPError):
        waiting.patiently(ask)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("response", "seconds"),
    [
        (refusal(429, Retry_After="7"), 7),
        (refusal(503, Retry_After="7"), 7),
        (refusal(429, RateLimit='"api";r=0;t=55', Retry_After="7"), 55),
        (refusal(429, RateLimit='"api";r=3;t=55'), None),
        (refusal(429, Retry_After="soon"), None),
        (refusal(429), None),
        (refusal(500, Retry_After="7"), None),
    ],
)
def test_how_long_the_hub_asks_for(response: httpx2.Response, seconds: int | None) -> None:
    assert waiting.asked_wait(response) == seconds


@pytest.mark.parametrize(("ahead", "most"), [(100, 100), (-100, 0)])
def test_a_moment_is_a_wait_too(ahead: int, most: int) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=ahead)
    seconds = waiting.asked_wait(refusal(429, Retry_After=format_datetime(moment, usegmt=True)))
    assert seconds is not None
    assert most - 60 <= seconds <= most or seconds == most == 0
