"""If the Hub limits requests, hf-prune waits as long as it asks, or says when to run the command again."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from hf_prune import hub as our_hub
from hf_prune.cli.console import terminal
from hf_prune.errors import HubUnreachable
from hf_prune.hub import retrying
from tests.loopback import Fault, LoopbackHub

BASE = "acme/open"
NOTICE = "the Hub asks to slow down: going on in 0 s"


@pytest.fixture
def base(home_hub: LoopbackHub) -> LoopbackHub:
    """The Hub with a model."""
    home_hub.add_repository(BASE, {"config.json": b"{}", "weights.bin": b"x" * 100})
    return home_hub


def limited(times: int = 1, path: str = "^/api/models/acme/open", **headers: str) -> Fault:
    """A refusal for too many requests."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Fault(method="GET", path=path, status=429, times=times, headers=named)


def refusal(status: int, **headers: str) -> HfHubHTTPError:
    """What huggingface_hub raises for a response of the Hub."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = httpx2.Response(status, headers=named, request=httpx2.Request("GET", "http://hub"))
    return HfHubHTTPError("refused", response=response)


@pytest.mark.parametrize("headers", [{"Retry_After": "0"}, {"RateLimit": '"api";r=0;t=0'}])
def test_a_question_is_asked_again_after_the_wait_which_the_user_sees(
    base: LoopbackHub, capsys: pytest.CaptureFixture[str], headers: dict[str, str]
) -> None:
    terminal.start(quiet=False)
    base.inject(limited(times=2, **headers))
    assert our_hub.look_up(BASE, None).repo_id == BASE
    assert capsys.readouterr().err.splitlines() == [NOTICE, NOTICE]
    assert [call.status for call in base.calls_to("GET", "^/api/models/")] == [429, 429, 200]


def test_the_user_sees_a_wait_of_huggingface_hub_too(
    base: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.start(quiet=False)
    repository = our_hub.look_up(BASE, None)
    base.inject(limited(path="^/storage/", Retry_After="0"))
    our_hub.download(repository, ("weights.bin",))
    # One second more than the Hub asks for.
    assert capsys.readouterr().err.splitlines() == ["the Hub asks to slow down: going on in 1 s"]


def test_a_quiet_run_waits_without_a_word(base: LoopbackHub, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.start(quiet=True)
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
def test_a_wait_that_is_long_or_unknown_is_left_to_the_user(
    base: LoopbackHub, headers: dict[str, str], when: str
) -> None:
    base.inject(limited(**headers))
    with pytest.raises(HubUnreachable) as caught:
        our_hub.look_up(BASE, None)
    assert f"the Hub at {base.url} asks to slow down (429) on {BASE}" in str(caught.value)
    assert f"run the same command again {when}; finished stages are kept" in str(caught.value)


def test_a_hub_that_keeps_limiting_is_given_up(base: LoopbackHub) -> None:
    base.inject(limited(times=retrying.LIMITED_ATTEMPTS, Retry_After="0"))
    with pytest.raises(HubUnreachable, match="asks to slow down"):
        our_hub.look_up(BASE, None)


@pytest.mark.parametrize("error", [refusal(404, Retry_After="0"), httpx2.ConnectError("no route"), OSError()])
def test_a_question_that_fails_for_another_reason_is_not_asked_again(error: Exception) -> None:
    calls = []

    def ask() -> None:
        calls.append(1)
        raise error

    with pytest.raises(type(error)):
        retrying.retry_if_limited(ask)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (refusal(500), [1, 2, 4, 8, 16]),
        (httpx2.ConnectError("no route"), [1, 2, 4, 8, 16]),
        (json.JSONDecodeError("a proxy's page", "<html>", 0), [1, 2, 4, 8, 16]),
        (refusal(429, Retry_After="7"), [7, 7, 7, 7, 7]),
        (refusal(429, Retry_After="3600"), []),
        (refusal(404), []),
        (ValueError("a fault of ours"), []),
    ],
    ids=["server", "connection", "proxy", "limited", "limited for long", "client", "other"],
)
def test_a_call_is_retried_after_a_transient_error_and_ends_with_its_own(
    error: Exception, waits: list[float]
) -> None:
    waited: list[float] = []

    def call() -> None:
        raise error

    with pytest.raises(type(error)):
        retrying.retry(call, waited.append)
    assert waited == waits


def test_the_answer_of_a_later_attempt_counts() -> None:
    answers = iter([refusal(503), httpx2.ReadTimeout("slow"), "answer"])
    waited: list[float] = []

    def call() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert retrying.retry(call, waited.append) == "answer"
    assert waited == [1, 2]


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (refusal(429, Retry_After="7"), 7),
        (refusal(503, Retry_After="7"), 7),
        (refusal(429, RateLimit='"api";r=0;t=55', Retry_After="7"), 55),
        (refusal(429, RateLimit='"api";r=3;t=55'), None),
        (refusal(429, Retry_After="soon"), None),
        (refusal(429), None),
        (refusal(500, Retry_After="7"), None),
        (OSError(), None),
    ],
)
def test_the_wait_comes_from_the_headers_of_a_refusal(error: Exception, seconds: int | None) -> None:
    assert retrying.requested_wait(error) == seconds


@pytest.mark.parametrize(("ahead", "most"), [(100, 100), (-100, 0)])
def test_a_wait_may_be_given_as_a_date(ahead: int, most: int) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=ahead)
    seconds = retrying.requested_wait(refusal(429, Retry_After=format_datetime(moment, usegmt=True)))
    assert seconds is not None
    assert most - 60 <= seconds <= most or seconds == most == 0
