"""A wall-clock bound on a whole operation, however many reads, tries and waits it is made of.

Time-outs of HTTP libraries hold for one read; a slow body can take for ever. A `Deadline` is made once, handed down,
and checked at every step. A call that cannot check it runs as a `BoundedTask`.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

T = TypeVar("T")

FORK_WAIT = 1.0
"""Seconds that a fork of this process waits for running tasks at most; see `_before_fork`."""

_running: set[BoundedTask[Any]] = set()
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
    limit, total = Deadline(seconds), _whole.get()
    return total if total is not None and total.left() < limit.left() else limit


class BoundedTask(Generic[T]):
    """Work that was started in a thread of its own, with a copy of the caller's context; `result` waits for it.

    A thread cannot be stopped: one that is given up ends with the call that it is in, so work of several steps checks
    a deadline between them. Threads are daemons and keep no process alive.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._done = threading.Event()
        self._value: T
        self._error: BaseException | None = None
        self._outlasted_fork = False
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._run, work), name="mlflow-dsver", daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[], T]) -> None:
        _running.add(self)
        try:
            self._value = work()
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that waits)
            self._error = error
        finally:
            self._done.set()
            _running.discard(self)

    @property
    def done(self) -> bool:
        """Whether the work has ended, with a value or an error."""
        return self._done.is_set()

    def result(self, deadline: Deadline) -> T:
        """The value of the work. Raises what it raised, and DeadlineExceeded when the time is over before it ends."""
        self._done.wait(min(deadline.left(), threading.TIMEOUT_MAX))
        if not self._done.is_set():
            raise DeadlineExceeded("the time was over")
        if self._error is not None:
            raise self._error
        return self._value

    def join_before_fork(self, deadline: Deadline) -> None:
        """Wait for the thread to end; not from inside the task, nor for one that outlasted an earlier fork's wait."""
        if not self._outlasted_fork and threading.current_thread() is not self._thread:
            self._thread.join(deadline.left())
            self._outlasted_fork = self._thread.is_alive()


def within(deadline: Deadline, work: Callable[[], T]) -> T:
    """Do the work in the deadline; see `BoundedTask`."""
    return BoundedTask(work).result(deadline)


def _before_fork() -> None:
    """Wait until running tasks are over, at most FORK_WAIT, and for each of them once.

    A fork copies the locks of a thread that does not exist in the child. Python's import locks are among them, and
    MLflow imports a module in each request: a child would wait for ever for one that was held at the fork.
    """
    deadline = Deadline(FORK_WAIT)
    for task in list(_running):
        task.join_before_fork(deadline)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_running.clear)
