"""Walks Clarifai's numbered pages, which have neither a total nor a mark of the next page.

A listing ends with an empty page. What is deleted between two pages moves all that follows forward, so that an entry
would be left out; therefore the last entry of each page is asked for once more when the next page has come, and a
listing that moved is an error. Entries that are made meanwhile only come twice. Items that cannot be read are passed
over with a warning, so that one of them does not hide the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlflow_dsver.errors import InvalidArgument, InvalidReference, ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.model.refs import check_name
from mlflow_dsver.providers.clarifai.models import Listed
from mlflow_dsver.providers.http.wire import MAX_PAGES
from mlflow_dsver.text import one_line

log = logging.getLogger(__name__)

PER_PAGE = 500
"""Items asked for in a page of a whole listing; the documents allow up to 1,000."""
MAX_PER_PAGE = 1000
MAX_ID = 200
"""Characters of an id at most; a longer one fits into no reference."""
TRIES = 3
"""How often a listing is walked that moves meanwhile, where only its result is wanted."""

Item = TypeVar("Item", bound=Listed)
Result = TypeVar("Result")


class ListingChanged(ProviderUnavailable):
    """A listing moved while it was read, so that entries may have been left out."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[Item]):
    """A listing of the service.

    fetch: takes the number of a page, from 1 on, and the items in a page, and gives the items as they came.
    model: what an item is read as. operation, reference: what errors name.
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
        that come twice and after 10,000 pages.
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
    """What the work gives that reads a whole listing; done again when the listing changed meanwhile.

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
    """What an item is known by; None for those that have no id."""
    if not isinstance(item, dict):
        return None
    found = item.get("id")
    if found is None and isinstance(item.get("input"), dict):
        found = item["input"].get("id")
    return found if isinstance(found, str) else None
