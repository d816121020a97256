"""Waits for what Clarifai does behind its answers: a version or an export that is made. Bounded, and never silent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from mlflow_dsver import settings
from mlflow_dsver.content.progress import SILENT, Progress, terminal
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import ProviderError, ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.providers.clarifai.info import WAIT
from mlflow_dsver.providers.clarifai.models import Status

log = logging.getLogger(__name__)

FIRST_PAUSE, LAST_PAUSE = 0.25, 5.0
"""Seconds between two questions: soon at first, then less and less often; 15 requests a second are allowed."""
SHORTEST_PAUSE = 0.02
"""Seconds; when less is left, no further question is asked."""

Thing = TypeVar("Thing")


def bound(seconds: float | None = None) -> Deadline:
    """A deadline for waiting: the seconds given, else the setting."""
    return Deadline(seconds if seconds is not None else WAIT.get())


@contextmanager
def visible(progress: Progress, label: str) -> Iterator[Progress]:
    """The progress of whoever looks already, else a bar of our own on a terminal."""
    if progress is not SILENT:
        yield progress
        return
    with terminal(label) as shown:
        yield shown


@dataclass(frozen=True, slots=True)
class Course:
    """What a status means for something that is made. what: its name in messages."""

    what: str
    done: int
    going_on: tuple[int, ...]
    failed: tuple[int, ...]


def wait(
    course: Course,
    thing: Thing,
    ask: Callable[[], Thing],
    status_of: Callable[[Thing], Status | None],
    *,
    deadline: Deadline,
    reference: object,
    progress: Progress = SILENT,
    setting: str = WAIT.name,
) -> Thing:
    """Ask until the thing is made, and hand back what was answered last; `thing` is what is known at first.

    setting: which one bounds the wait, for the message. `ask` may be bound by the same deadline.
    Raises ProviderError for a status that means failure, UnexpectedResponse for one that is nowhere in the course,
    and ProviderUnavailable when the deadline comes first.
    """
    status = status_of(thing)
    if _is_made(course, status, reference):
        return thing
    pause, told = FIRST_PAUSE, ""
    with visible(progress, f"waiting for {course.what}"):
        while True:
            if str(status) != told:
                told = str(status)
                percent = f", {status.percent_completed} %" if status and status.percent_completed else ""
                log.info("%s: waiting for %s: %s%s", reference, course.what, told, percent)
            if deadline.left() <= SHORTEST_PAUSE:
                raise _too_late(course, status, deadline, setting, reference)
            deadline.sleep(min(pause, deadline.left() * 0.8))  # leaves time for an answer to the last question
            pause = min(pause * 1.5, LAST_PAUSE)
            try:
                thing = ask()
            except ProviderUnavailable as error:
                if deadline.left() > SHORTEST_PAUSE:
                    raise
                raise _too_late(course, status, deadline, setting, reference) from error
            status = status_of(thing)
            if _is_made(course, status, reference):
                return thing


def _too_late(
    course: Course, status: Status | None, deadline: Deadline, setting: str, reference: object
) -> ProviderUnavailable:
    return ProviderUnavailable(
        f"{course.what} is not ready after {deadline.seconds:g} seconds",
        got=status,
        done="It goes on at Clarifai",
        tip=f"again later, or {settings.PREFIX}{setting}=1800 to wait longer",
        **_parts(course, reference),
    )


def _is_made(course: Course, status: Status | None, reference: object) -> bool:
    code = status.code if status else None
    if code in course.failed:
        raise ProviderError(f"{course.what} failed", got=status, **_parts(course, reference))
    if code != course.done and code not in course.going_on:
        got = status if status else "no status"
        raise UnexpectedResponse(
            f"{course.what} has an unknown status", expected=course.done, got=got, **_parts(course, reference)
        )
    return code == course.done


def _parts(course: Course, reference: object) -> dict[str, Any]:
    return {"provider": "clarifai", "operation": f"wait for {course.what}", "reference": reference}
