"""A wall-clock bound on a whole operation, however many reads, tries and waits it is made of.

Time-outs of HTTP libraries hold for one read; a body that drips can take for ever. A `Deadline` is made once,
handed down, and asked at every step.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_whole: ContextVar[Deadline | None] = ContextVar("mlflow_dsver_deadline", default=None)


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


@contextmanager
def at_latest(deadline: Deadline) -> Iterator[None]:
    """What is begun in this block, also in threads that get a copy of its context, shall end by this deadline."""
    token = _whole.set(deadline)
    try:
        yield
    finally:
        _whole.reset(token)


def bounded(seconds: float | None) -> Deadline:
    """A deadline so many seconds from now (None: never), or that of the block `at_latest`, where it is earlier."""
    own, whole = Deadline(seconds), _whole.get()
    return whole if whole is not None and whole.left() < own.left() else own
