"""Faults that a test can inject, and the record of each call."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault for the requests that it matches. It has exactly one effect.

    A `status` is answered in place of the route, which then does not run. A cut request never
    reaches its route either: the connection closes while the body is being read. A cut response
    comes from the route, which has done its work: cut at 0 it is an answer that was lost. A held request
    is read up to a place and then neither read nor answered until its client is gone. A garbled request
    reaches its route with other bytes in place of some.

    The place of a cut is a number of bytes (int) or a fraction of the body (float below 1).
    """

    method: str
    path: str = ""  # a regular expression, searched for in the raw path
    times: int = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_request_at: int | float | None = None
    cut_response_at: int | float | None = None
    hold_request_at: int | float | None = None
    garbled: tuple[bytes, bytes] | None = None  # what is in the request, and what arrives in its place

    def __post_init__(self) -> None:
        """Refuse a fault that contradicts itself."""
        places = (self.cut_request_at, self.cut_response_at, self.hold_request_at)
        effects = (self.status, self.garbled, *places)
        if sum(effect is not None for effect in effects) != 1:
            raise ValueError(
                "a fault is one of: status, cut_request_at, cut_response_at, hold_request_at, garbled"
            )
        if self.headers and self.status is None:
            raise ValueError("headers go with a status")
        if self.times < 1:
            raise ValueError(f"a fault happens at least once, not {self.times} times")
        for place in places:
            if place is not None and (place < 0 or (isinstance(place, float) and place >= 1)):
                raise ValueError(f"{place} is not a number of bytes or a fraction below 1")
        re.compile(self.path)

    def matches(self, method: str, raw_path: str) -> bool:
        """Whether this fault concerns a request."""
        return method == self.method and re.search(self.path, raw_path) is not None


def cut_point(place: int | float, total: int | None) -> int:
    """The number of bytes before a cut; a cut that would cut nothing off is a mistake of the test.

    Args:
        place: A number of bytes, or a fraction of the total.
        total: Length of the body, None where it comes in chunks and no length is known.
    """
    if total is None and isinstance(place, float):
        raise ValueError("a chunked body has no length to take a fraction of: give bytes")
    if total is None:
        return int(place)
    count = int(place * total) if isinstance(place, float) else place
    if count >= total:
        raise ValueError(f"a cut after {count} bytes leaves a body of {total} bytes whole")
    return count


class FaultQueue:
    """Faults in the order they were injected; the first that matches a request is used up by it."""

    def __init__(self) -> None:
        self.pending: list[Fault] = []

    def take(self, method: str, raw_path: str) -> Fault | None:
        """The fault for this request, if any."""
        for position, fault in enumerate(self.pending):
            if not fault.matches(method, raw_path):
                continue
            left = [replace(fault, times=fault.times - 1)] if fault.times > 1 else []
            self.pending[position : position + 1] = left
            return fault
        return None


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request and its outcome."""

    method: str
    route: str  # the template of the path: "/api/{kind}/{repo_id}"
    path: str  # as the client wrote it, still quoted
    query: str
    byte_range: str | None
    received: int  # bytes of the request body
    status: int | None  # None where the connection was cut before an answer
    sent: int = 0  # bytes of the response body, less what a fault cut off
    fault: Fault | None = None
