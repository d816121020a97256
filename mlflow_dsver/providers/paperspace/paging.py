"""Pagination of Paperspace's listings, with restarts so that no entry is missed silently.

A page has a flag for further pages and a cursor (`nextPage`) that the next request sends back (`after`). The
service's behaviour for the cursor of an entry that was deleted meanwhile is not documented: it may refuse it, return
an empty page, or begin again. So an empty page after one that announced more is not taken as the end: the listing is
restarted, and entries that were already returned are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlflow_dsver.errors import InvalidArgument, ProviderError, UnexpectedResponse
from mlflow_dsver.providers.http.wire import MAX_PAGES

Item = TypeVar("Item")
PAGE = 120
"""Entries per page: the maximum of the service."""
RESTARTS = 3
"""How often a listing that changes while it is read is restarted."""
_MARK_REFUSED = frozenset({400, 404, 410})


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a listing. next_page: the mark that `after` takes; None for none.

    unreadable: entries that were left out, because they have no id or are no objects; each was warned about.
    """

    items: list[Item]
    has_more: bool
    next_page: str | None
    unreadable: int = 0


class Listing(Iterator[Item]):
    """All entries, without duplicates, each page fetched when it is needed; or some of them at once, by `page`.

    fetch: takes a cursor (None for the first page) and a number of entries. key: identifies an entry. what,
    reference: the operation and its subject, for errors. after: the cursor to begin after. page_size: entries per
    page; None takes the maximum. Raises InvalidArgument for a size that the service does not accept.
    """

    def __init__(
        self,
        fetch: Callable[[str | None, int], Page[Item]],
        key: Callable[[Item], str],
        what: str,
        reference: object = None,
        *,
        after: str | None = None,
        page_size: int | None = None,
    ) -> None:
        self._fetch, self._key, self._what, self._reference = fetch, key, what, reference
        self._after, self._size = after, _checked_size(page_size)
        self._items = (item for page in self.pages() for item in page.items)

    def __next__(self) -> Item:
        return next(self._items)

    def page(self, limit: int | None = None) -> Page[Item]:
        """At most `limit` entries from the beginning (None for all), and whether and where there are more.

        Raises InvalidArgument for a limit below 1.
        """
        if limit is not None and (isinstance(limit, bool) or limit < 1):
            raise InvalidArgument("not a number of entries", expected="1 or more", got=repr(limit)[:40])
        items: list[Item] = []
        page: Page[Item] = Page([], False, None)
        for page in self.pages(limit):
            items += page.items
        if limit is not None and len(items) > limit:  # the service returned more than requested
            return Page(items[:limit], True, None)
        return Page(items, page.has_more, page.next_page if page.has_more else None)

    def pages(self, limit: int | None = None) -> Iterator[Page[Item]]:
        """The pages, without entries that were already returned.

        limit: number of entries; the last page is requested with a size that makes its cursor end there. Raises
        UnexpectedResponse, after what was read, when the service announces more without a cursor, when a cursor is
        repeated, when no entry can be read, and when the listing does not end after RESTARTS restarts.
        """
        seen, marks, restarts, unreadable, cursor = set[str](), set[str](), 0, 0, self._after
        for _ in range(MAX_PAGES):
            page = self._page(cursor, self._size if limit is None else min(self._size, limit - len(seen)))
            if not isinstance(page, Page):
                if restarts == RESTARTS:
                    raise page
                restarts, cursor = restarts + 1, self._after
                marks.clear()
                continue
            fresh = [item for item in page.items if self._key(item) not in seen]
            seen.update(map(self._key, fresh))
            unreadable += page.unreadable
            yield Page(fresh, page.has_more, page.next_page)
            if not page.has_more and unreadable and not seen:
                raise self._wrong("no entry of the listing can be read")
            if not page.has_more or (limit is not None and len(seen) >= limit):
                return
            if page.next_page is None:
                raise self._wrong("the service says that there is more, and does not say where")
            if page.next_page in marks:
                raise self._wrong("the same page is offered twice")
            marks.add(page.next_page)
            cursor = page.next_page
        raise self._wrong(f"more than {MAX_PAGES} pages")

    def _page(self, cursor: str | None, size: int) -> Page[Item] | ProviderError:
        """The page after a cursor, or the reason for a restart."""
        try:
            page = self._fetch(cursor, size)
        except ProviderError as error:
            if cursor is None or cursor == self._after or error.status not in _MARK_REFUSED:
                raise
            return error
        if page.items or page.unreadable or page.has_more or cursor is None:
            return page
        if cursor == self._after:
            raise self._wrong(
                "nothing follows that mark, so its entry was probably deleted meanwhile",
                tip="list from the beginning",
            )
        return self._wrong(f"the listing changed while it was read, and began again {RESTARTS} times")

    def _wrong(self, what: str, **parts: Any) -> UnexpectedResponse:
        return UnexpectedResponse(
            what, provider="paperspace", operation=self._what, reference=self._reference, **parts
        )


def _checked_size(size: int | None) -> int:
    """Entries per page, or InvalidArgument; None takes the maximum."""
    if size is None:
        return PAGE
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 120:
        raise InvalidArgument("not a number of entries a page", expected="1 to 120", got=repr(size)[:40])
    return size


def read_page(
    response: Any, read: Callable[[Any], Item | None], what: str, reference: object, *, confidential: bool
) -> Page[Item]:
    """A page as received. read: parses an entry, None for one without an id.

    Where `hasMore` is missing, a cursor means that there is more. Raises UnexpectedResponse for a malformed page.
    """
    parts: dict[str, Any] = {"provider": "paperspace", "operation": what, "reference": reference}
    payload = None if confidential else response
    if not isinstance(response, dict) or not isinstance(response.get("items"), list):
        raise UnexpectedResponse("not a page", expected="an object with items", payload=payload, **parts)
    cursor = response.get("nextPage")
    if cursor is not None and not isinstance(cursor, str):
        raise UnexpectedResponse("a page's mark that is no text", payload=payload, **parts)
    more_flag = response.get("hasMore")
    items = [item for item in map(read, response["items"]) if item is not None]
    has_more = more_flag if isinstance(more_flag, bool) else bool(cursor)
    return Page(items, has_more, cursor or None, len(response["items"]) - len(items))
