"""A wall-clock bound on a whole operation, however many reads, tries and waits it is made of.

Time-outs of HTTP libraries hold for one read; a body that drips can take for ever. A `Deadline` is made once,
handed down, and asked at every step.
"""

from __future__ import annotations

import time


class DeadlineExceeded(TimeoutError):
    """The operation did not end within its bound."""


class Deadline:
    """Ends `seconds` from now; None never ends."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, at least 0; infinity without a bound."""
        return float("inf") if self._end is None else max(0.0, self._end - time.monotonic())

    def check(self, what: str) -> None:
        """Raise DeadlineExceeded when nothing is left; `what` says what was being done."""
        if self.left() <= 0:
            raise DeadlineExceeded(f"{what}: not done within {self.seconds:g} seconds")

    def sleep(self, seconds: float) -> None:
        """Sleep that long, or as long as is left."""
        time.sleep(min(seconds, self.left()))
