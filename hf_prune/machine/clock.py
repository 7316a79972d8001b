"""When something began, and how long it has taken."""

import time
from datetime import UTC, datetime


class Clock:
    """Starts when it is made."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")  # ISO 8601
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the start, to a tenth."""
        return round(time.monotonic() - self._began, 1)
