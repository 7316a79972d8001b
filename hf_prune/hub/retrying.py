"""Retries: which calls to the Hub are made again, and after how many seconds.

huggingface_hub itself retries the requests that come before a commit (which files are large, the batch, each
PUT), up to six times. It makes the other calls once, and those are retried here. A question before the work
is only asked again if the Hub says when: the user is still there, and can run the command again.
"""

import json
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError

LONGEST_WAIT = 330  # seconds: the Hub counts requests in windows of five minutes
ATTEMPTS = 6  # as in huggingface_hub
LIMITED_ATTEMPTS = 4  # of a question that the Hub refuses only because it limits requests
FIRST_WAIT = 1.0  # seconds; each wait is twice the one before
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
LIMITED = (429, 503)
USED_UP = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d+)")  # in the header `RateLimit: "api";r=0;t=55`

Wait = Callable[[float], None]  # seconds
Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


def retry(call: Callable[[], Answer], wait: Wait = time.sleep, *, only_if_limited: bool = False) -> Answer:
    """The answer to a call that is safe to make twice: it is made again after a transient error.

    The wait is as long as the Hub asks, or longer each time. With `only_if_limited`, the call is made again
    only if the Hub says how long to wait.
    """
    attempts, attempt = LIMITED_ATTEMPTS if only_if_limited else ATTEMPTS, 0
    while True:
        try:
            return call()
        except Exception as error:
            seconds: float | None = requested_wait(error)
            if seconds is None and not only_if_limited and is_transient(error):
                seconds = FIRST_WAIT * 2**attempt
            attempt += 1
            if seconds is None or seconds > LONGEST_WAIT or attempt == attempts:
                raise
            wait(seconds)


def retry_if_limited(question: Callable[[], Answer]) -> Answer:
    """The answer to a question, which is asked again if the Hub limits requests and says how long to wait.

    Raises:
        HfHubHTTPError: refused for another reason, too often, or for longer than is worth waiting.
    """
    return retry(question, _wait_aloud, only_if_limited=True)


def _wait_aloud(seconds: float) -> None:
    _log.warning("the Hub asks to slow down: going on in %d s", seconds)
    time.sleep(seconds)


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed the next time."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT
    # A JSON error is transient: a proxy sent a page of its own in place of the Hub's answer.
    return isinstance(error, httpx2.TransportError | json.JSONDecodeError)


def requested_wait(error: Exception) -> int | None:
    """Seconds that the Hub asks to wait before the next request; None if it does not say.

    The header RateLimit takes precedence over Retry-After, which is a number of seconds or a date.
    """
    if not isinstance(error, HfHubHTTPError) or error.response.status_code not in LIMITED:
        return None
    headers = error.response.headers
    if used_up := USED_UP.search(headers.get("RateLimit", "")):
        return int(used_up[1])
    after = headers.get("Retry-After", "").strip()
    if after.isdigit():
        return int(after)
    try:
        moment = parsedate_to_datetime(after)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0, round((moment - datetime.now(UTC)).total_seconds()))
