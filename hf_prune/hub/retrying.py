"""Calls that are made again where the Hub, or the way to it, stumbled.

huggingface_hub makes again what comes before a commit (the question which files are large, the batch, each
PUT), six times in all and with waits of its own. What it makes once, is made again here: looking at a
repository, making one, making a branch, the commit itself.
"""

import json
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from hf_prune.hub.waiting import LONGEST_WAIT, asked_wait

ATTEMPTS = 6  # as huggingface_hub has it
FIRST_WAIT = 1.0  # seconds; each wait is twice the one before
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})

Wait = Callable[[float], None]  # seconds
Answer = TypeVar("Answer")


def retried(call: Callable[[], Answer], wait: Wait = time.sleep) -> Answer:
    """What a call answers, made again where it may go better the next time.

    Args:
        call: may be made twice: it reads, or it does nothing that is done already.
        wait: sleeps so many seconds.
    """
    for attempt in count():
        try:
            return call()
        except Exception as error:
            seconds = pause_after(error, attempt)
            if seconds is None:
                raise
            wait(seconds)
    raise AssertionError  # count() has no end


def pause_after(error: BaseException, attempt: int) -> float | None:
    """How many seconds to wait before a call is made again; None: it is not.

    Args:
        error: that the call ended with.
        attempt: which that was, from 0.
    """
    if attempt + 1 >= ATTEMPTS or not is_transient(error):
        return None
    asked = asked_wait(error.response) if isinstance(error, HfHubHTTPError) else None
    if asked is None:
        return float(FIRST_WAIT * 2**attempt)
    return float(asked) if asked <= LONGEST_WAIT else None


def is_transient(error: BaseException) -> bool:
    """Whether the same call may go better the next time."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in TRANSIENT
    # A proxy's page in place of the Hub's JSON is no answer either.
    return isinstance(error, httpx2.TransportError | json.JSONDecodeError)
