"""The wait that the Hub asks for where it limits how often it is asked.

huggingface_hub waits by itself while files go up and down, and does not where a single question or a commit
is refused; those are asked again here.
"""

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
MOST_WAITS = 3
LIMITED = (429, 503)
USED_UP = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d+)")  # in the header `RateLimit: "api";r=0;t=55`

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


def patiently(ask: Callable[[], Answer]) -> Answer:
    """The answer to a question, asked again after as long as the Hub says, where it says how long.

    Args:
        ask: what may be done again, as it is.

    Raises:
        HfHubHTTPError: refused for another reason, too often, or for longer than is worth waiting.
    """
    for _ in range(MOST_WAITS):
        try:
            return ask()
        except HfHubHTTPError as error:
            seconds = asked_wait(error.response)
            if seconds is None or seconds > LONGEST_WAIT:
                raise
            _log.warning("the Hub asks to slow down: going on in %d s", seconds)
            time.sleep(seconds)
    return ask()


def asked_wait(response: httpx2.Response) -> int | None:
    """Seconds after which the Hub wants to be asked again; None where it does not say, or asks for none.

    Args:
        response: a refusal; its header RateLimit comes before Retry-After, in seconds or as a date.
    """
    if response.status_code not in LIMITED:
        return None
    if used_up := USED_UP.search(response.headers.get("RateLimit", "")):
        return int(used_up[1])
    after = response.headers.get("Retry-After", "").strip()
    if after.isdigit():
        return int(after)
    try:
        moment = parsedate_to_datetime(after)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0, round((moment - datetime.now(UTC)).total_seconds()))
