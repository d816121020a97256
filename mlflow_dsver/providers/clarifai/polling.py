"""Requests that are repeated: listings page by page, and waiting until a version or an export is ready.

Pages are numbered, without a total or a cursor; a listing ends with an empty page. When an entry is deleted between
two pages, the following ones move forward and one would be missed. Therefore the last entry of each page is read
again after the next page, and a listing that moved is an error. Entries that are created in the meantime are only
listed twice. Items that cannot be read are skipped with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlflow_dsver import settings
from mlflow_dsver.content.progress import SILENT, Progress, terminal
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import (
    InvalidArgument,
    InvalidReference,
    ProviderError,
    ProviderUnavailable,
    UnexpectedResponse,
)
from mlflow_dsver.model.refs import check_name
from mlflow_dsver.providers.clarifai.info import WAIT
from mlflow_dsver.providers.clarifai.models import Listed, Status
from mlflow_dsver.providers.http.wire import MAX_PAGES
from mlflow_dsver.text import one_line

log = logging.getLogger(__name__)

PER_PAGE = 500
"""Items per page of a whole listing; the documents allow up to 1,000."""
MAX_PER_PAGE = 1000
MAX_ID = 200
"""Maximum characters of an id; a longer one does not fit into a reference."""
TRIES = 3
"""How often a listing that changes while it is read is read again, where only its result is needed."""

Item = TypeVar("Item", bound=Listed)
Result = TypeVar("Result")


class ListingChanged(ProviderUnavailable):
    """A listing changed while it was read, so that entries may be missing."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """A listing of the service.

    fetch: takes the number of a page (from 1) and the page size, and returns the items as received. model: the class
    of an item. operation, reference: for errors.
    """

    fetch: Callable[[int, int], list[Any]]
    model: type[Item]
    operation: str
    reference: object = None

    def page(self, number: int, per_page: int) -> list[Item]:
        """One page. Raises InvalidArgument for numbers that the API does not take."""
        if number < 1 or not 1 <= per_page <= MAX_PER_PAGE:
            raise InvalidArgument(
                "no such page", expected=f"page from 1 on, per_page from 1 to {MAX_PER_PAGE}", got=(number, per_page)
            )
        return list(self._read(self.fetch(number, per_page)))

    def __iter__(self) -> Iterator[Item]:
        """All items, each page fetched when it is needed. Raises ListingChanged, and UnexpectedResponse for pages
        that are repeated and after 10,000 pages.
        """
        former: list[Any] = []
        position = 0
        for number in range(1, MAX_PAGES + 1):
            items = self.fetch(number, PER_PAGE)
            if items and items == former:
                raise self._unexpected("the same page came twice", f"page {number}")
            if former and (items or len(former) >= PER_PAGE):
                self._check_place(former, position)
            if not items:
                return
            position += len(items)
            yield from self._read(items)
            former = items
        raise self._unexpected(f"more than {MAX_PAGES} pages", None)

    def _check_place(self, page: list[Any], position: int) -> None:
        """Whether the last item of the page, `position` from the start, is still there or after it."""
        now = self.fetch(position, 1)
        known = {_identity(item) for item in page}
        if len(now) > 1 or (now and _identity(now[0]) in known):
            return
        raise ListingChanged(
            "the listing changed while it was read, so entries may be missing",
            provider="clarifai",
            operation=self.operation,
            reference=self.reference,
            tip="again",
        )

    def _read(self, items: list[Any]) -> Iterator[Item]:
        for item in items:
            try:
                made = self.model.read(item)
                if getattr(made, "id", None) is not None:
                    _check_id(made.id)  # type: ignore[attr-defined]
            except (UnexpectedResponse, InvalidReference) as error:
                log.warning("%s: left out of the listing: %s", self.operation, one_line(error, 200))
                continue
            if made.unread:
                shown = one_line(getattr(made, "id", ""), 80)
                log.warning("%s: %s: cannot be read: %s", self.operation, shown, ", ".join(made.unread))
            yield made

    def _unexpected(self, what: str, got: object) -> UnexpectedResponse:
        return UnexpectedResponse(
            what, provider="clarifai", operation=self.operation, reference=self.reference, got=got
        )


def settled(work: Callable[[], Result]) -> Result:
    """The result of `work`, which reads a whole listing; repeated if the listing changed while it was read.

    Raises ListingChanged when it changed each time.
    """
    for _ in range(TRIES - 1):
        try:
            return work()
        except ListingChanged as error:
            log.info("%s", error)
    return work()


def _check_id(name: str) -> None:
    if len(name) > MAX_ID:
        raise InvalidReference("an id that is too long", expected=f"at most {MAX_ID} characters", got=len(name))
    check_name(name, "an id")


def _identity(item: Any) -> str | None:
    """The id of an item; None if it has none."""
    if not isinstance(item, dict):
        return None
    found = item.get("id")
    if found is None and isinstance(item.get("input"), dict):
        found = item["input"].get("id")
    return found if isinstance(found, str) else None


# Waiting


FIRST_PAUSE, LAST_PAUSE = 0.25, 5.0
"""Seconds between two status requests, first and longest; the service allows 15 requests a second."""
SHORTEST_PAUSE = 0.02
"""Seconds; when less is left, no further request is sent."""

Thing = TypeVar("Thing")


def bound(seconds: float | None = None) -> Deadline:
    """A deadline for waiting: these seconds, or those of the setting."""
    return Deadline(seconds if seconds is not None else WAIT.get())


@contextmanager
def visible(progress: Progress, label: str) -> Iterator[Progress]:
    """The caller's progress if it has one, else a progress bar on a terminal."""
    if progress is not SILENT:
        yield progress
        return
    with terminal(label) as shown:
        yield shown


@dataclass(frozen=True, slots=True)
class Course:
    """The meaning of a status of something that is being created. what: its name in messages."""

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
    """Query until the thing is ready, and return the last response. thing: the first one.

    setting: the one that limits the wait, for the message. `ask` may be limited by the same deadline. Raises
    ProviderError for a status that means failure, UnexpectedResponse for one that the course does not have, and
    ProviderUnavailable after the deadline.
    """
    status = status_of(thing)
    if _is_made(course, status, reference):
        return thing
    pause, logged = FIRST_PAUSE, ""
    with visible(progress, f"waiting for {course.what}"):
        while True:
            if str(status) != logged:
                logged = str(status)
                percent = f", {status.percent_completed} %" if status and status.percent_completed else ""
                log.info("%s: waiting for %s: %s%s", reference, course.what, logged, percent)
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
