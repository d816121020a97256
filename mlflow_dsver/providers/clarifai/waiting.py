"""Waits for what Clarifai does behind its answers: a version or an export that is made. Bounded, and never silent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from mlflow_dsver import settings
from mlflow_dsver.content.progress import terminal
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import ProviderError, ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.providers.clarifai.models import Status

log = logging.getLogger(__name__)

WAIT = 600.0
"""Seconds for a version or an export to be made, unless `MLFLOW_DSVER_CLARIFAI_WAIT` says otherwise; the vendor's own
client waits as long for a version's counts.
"""
FIRST_PAUSE, LAST_PAUSE = 0.25, 5.0
"""Seconds between two questions: soon at first, then less and less often; 15 requests a second are allowed."""

Thing = TypeVar("Thing")


def bound(seconds: float | None = None) -> Deadline:
    """A deadline for waiting: the seconds given, else the setting."""
    return Deadline(seconds if seconds is not None else settings.seconds("CLARIFAI_WAIT", WAIT))


def wait(
    what: str,
    thing: Thing,
    ask: Callable[[], Thing],
    status_of: Callable[[Thing], Status | None],
    *,
    done: int,
    going_on: tuple[int, ...],
    failed: tuple[int, ...],
    deadline: Deadline,
    reference: object,
) -> Thing:
    """Ask until the status is `done`, and hand back what was asked then; `thing` is what is known at first.

    Raises ProviderError for a status in `failed`, UnexpectedResponse for one that is nowhere, and ProviderUnavailable
    when the deadline comes first.
    """
    parts: dict[str, Any] = {"provider": "clarifai", "operation": f"wait for {what}", "reference": reference}
    pause, told = FIRST_PAUSE, ""
    with terminal(f"waiting for {what}"):
        while True:
            status = status_of(thing)
            code = status.code if status else None
            if code == done:
                return thing
            if code in failed:
                raise ProviderError(f"{what} failed", got=status, done="Nothing was linked to it", **parts)
            if code not in going_on:
                got = status if status else "no status"
                raise UnexpectedResponse(f"{what} has an unknown status", expected=done, got=got, **parts)
            if str(status) != told:
                told = str(status)
                percent = f", {status.percent_completed} %" if status and status.percent_completed else ""
                log.info("%s: waiting for %s: %s%s", reference, what, told, percent)
            if deadline.left() <= 0:
                raise ProviderUnavailable(
                    f"{what} is not ready after {deadline.seconds:g} seconds",
                    got=status,
                    done="It goes on at Clarifai",
                    tip="again later, or MLFLOW_DSVER_CLARIFAI_WAIT=1800 to wait longer",
                    **parts,
                )
            deadline.sleep(pause)
            pause = min(pause * 1.5, LAST_PAUSE)
            thing = ask()
