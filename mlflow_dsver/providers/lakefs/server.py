"""Requests to lakeFS' REST API: JSON, pages, and the bytes of objects, with its errors mapped to this package's.

The key goes to the server and to nothing else. A presigned download leads to the object store: it is followed
without the key, only to https at a public address, or to this machine where the server is on it as well; no error
quotes its address, which holds a signature.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from mlflow_dsver.deadlines import bounded
from mlflow_dsver.errors import NotFound, ProviderError, ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.answers import Answer, NoResponse, ask, open_client
from mlflow_dsver.providers.http.downloads import PublicOnly
from mlflow_dsver.providers.lakefs.account import ID_NAME, Account
from mlflow_dsver.providers.lakefs.info import NAME, Place
from mlflow_dsver.secrets import redact
from mlflow_dsver.text import one_line

AT_ONCE = 32
PAGE = 1000
"""Items of a page; the most that lakeFS gives."""
MAX_JSON = 64 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})\Z")


class Asked(NamedTuple):
    """What a request is for, in errors. reference: a DatasetRef, or its text."""

    operation: str
    reference: object


class Part(NamedTuple):
    """Bytes of an object, and the size of the whole. etag: the object store's own; None where lakeFS served them."""

    content: bytes
    size: int
    etag: str | None = None


class Server:
    """The server of an account. Thread-safe; connections are kept while it lives, and by one process."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._local = wire.is_loopback(urlsplit(account.endpoint).hostname or "")
        self._secrets = [account.key, account.basic]
        self._pid = -1

    def __repr__(self) -> str:
        return f"Server({self.account.endpoint})"

    def json(self, path: tuple[str, ...], asked: Asked, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object of an answer. path: below `/api/v1`."""
        answer = self._own(self._url(path, query), asked, {}, MAX_JSON)
        if answer.status != 200:
            raise self._failure(answer, asked)
        try:
            value = wire.read_json(self._text(answer))
        except wire.MalformedResponse as error:
            raise self.unexpected(f"an answer that cannot be read: {error}", asked) from error
        if not isinstance(value, dict):
            raise self.unexpected("an answer that is no object", asked)
        return value

    def pages(
        self, path: tuple[str, ...], asked: Asked, query: Mapping[str, Any] | None = None, amount: int = PAGE
    ) -> Iterator[dict[str, Any]]:
        """All items of a listing, each page fetched when it is needed."""

        def fetch(token: str | None) -> tuple[list[dict[str, Any]], str | None]:
            found = self.json(path, asked, {**(query or {}), "amount": amount, "after": token or ""})
            items, paging = found.get("results"), found.get("pagination")
            if not isinstance(items, list) or not isinstance(paging, dict):
                raise self.unexpected("a listing without results or pagination", asked)
            if not all(isinstance(each, dict) for each in items):
                raise self.unexpected("a listing with an item that is no object", asked)
            more, following = paging.get("has_more"), paging.get("next_offset")
            if more and (not items or not isinstance(following, str) or not following):
                raise self.unexpected("a listing that ends before its end", asked)
            return items, following if more else None

        return wire.walk_pages(fetch, asked.operation, NAME)

    def read(
        self,
        place: Place,
        commit: str,
        path: str,
        span: tuple[int, int] | None,
        asked: Asked,
        *,
        presign: bool = False,
    ) -> Part:
        """Bytes of an object at a commit. path: from the repository's root. span: from and to; None for the whole.

        presign: from the object store itself, whose ETag is then known; ProviderError where lakeFS cannot. Raises
        NotFound for an object that is gone.
        """
        headers = {} if span is None else {"Range": f"bytes={span[0]}-{span[1] - 1}"}
        limit = MAX_JSON if span is None else max(span[1] - span[0], 1 << 20)
        query = {"path": path} | ({"presign": "true"} if presign else {})
        url = self._url(("repositories", place.repository, "refs", commit, "objects"), query)
        answer, stored = self._own(url, asked, headers, limit), False
        if answer.status in _REDIRECTS:
            answer, stored = self._elsewhere(answer.headers.get("location", ""), asked, headers, limit), True
        if answer.status not in (200, 206):
            raise _store_failure(answer, path, asked) if stored else self._failure(answer, asked)
        etag = answer.headers.get("etag", "").removeprefix("W/").strip('"') or None if stored else None
        if answer.status == 200:
            start, stop = span or (0, len(answer.body))
            return Part(answer.body[start:stop], len(answer.body), etag)
        found = _RANGE.match(answer.headers.get("content-range", ""))
        if span is None or found is None or int(found[1]) != span[0]:
            raise self.unexpected("a part of an object that was not asked for", asked)
        return Part(answer.body, int(found[3]), etag)

    def page_url(self, place: Place, commit: str) -> str:
        """The address of the web page with the objects."""
        query = urlencode({"ref": commit} | ({"path": f"{place.path}/"} if place.path else {}))
        return f"{self.account.endpoint}/repositories/{quote(place.repository, safe='')}/objects?{query}"

    def unexpected(self, what: str, asked: Asked, got: object = None) -> UnexpectedResponse:
        """The error for an answer that does not follow the API."""
        shown = None if got is None else one_line(got, 80)
        return UnexpectedResponse(
            what, provider=NAME, operation=asked.operation, reference=asked.reference, got=shown
        )

    def _url(self, path: tuple[str, ...], query: Mapping[str, Any] | None) -> str:
        text = urlencode({name: value for name, value in (query or {}).items() if value != ""}, doseq=True)
        base = "/".join((f"{self.account.endpoint}/api/v1", *(quote(each, safe="") for each in path)))
        return f"{base}?{text}" if text else base

    def _own(self, url: str, asked: Asked, headers: Mapping[str, str], limit: int) -> Answer:
        sent = {**headers, "Authorization": f"Basic {self.account.basic.reveal()}"}
        return self._ask(url, asked, sent, limit, own=True)

    def _elsewhere(self, url: str, asked: Asked, headers: Mapping[str, str], limit: int) -> Answer:
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError as error:
            raise self.unexpected("a redirect to an address that cannot be read", asked) from error
        allowed = parts.scheme == "https" and bool(host)
        if wire.is_loopback(host):
            allowed = self._local and parts.scheme in ("http", "https")
        if not allowed or parts.username is not None or not url.isascii() or not url.isprintable():
            raise self.unexpected("a redirect to an address that is not followed", asked, host)
        return self._ask(url, asked, headers, limit, own=False)

    def _ask(self, url: str, asked: Asked, headers: Mapping[str, str], limit: int, *, own: bool) -> Answer:
        if self._pid != os.getpid():  # a fork shares the sockets of its parent
            self._clients = open_client(self.account.endpoint, AT_ONCE), open_client(self.account.endpoint, AT_ONCE)
            if not self._local:
                self._clients[1].mount("https://", PublicOnly(pool_maxsize=AT_ONCE))
            self._pid = os.getpid()
        where = urlsplit(url).hostname
        about: dict[str, Any] = {"provider": NAME, "operation": asked.operation, "reference": asked.reference}
        try:
            seconds = bounded(self.account.timeout).left()
            return ask(self._clients[not own], "GET", url, lambda: headers, seconds=seconds, limit=limit)
        except NoResponse as error:
            got = redact(str(error), self._secrets).partition("?")[0]
            raise ProviderUnavailable(f"no answer from {where}", got=got, **about) from None
        except wire.MalformedResponse as error:
            raise self.unexpected(f"{error} from {where}", asked) from None

    def _text(self, answer: Answer) -> str:
        body = wire.unpack(answer.body, answer.headers.get("content-encoding"), MAX_JSON)
        return redact(body.decode("utf-8", "replace"), self._secrets)

    def _failure(self, answer: Answer, asked: Asked) -> ProviderError:
        try:
            value = wire.read_json(self._text(answer))
        except wire.MalformedResponse:
            value = None
        message = value.get("message") if isinstance(value, dict) else None
        api_error = wire.ApiError(one_line(message, 300)) if isinstance(message, str) else None
        kind = wire.error_for(answer.status, api_error)
        what = f"answered {answer.status}" + ("" if api_error else " without lakeFS' own error")
        parts: dict[str, Any] = {"got": api_error.message if api_error else None}
        if kind is NotFound:
            what, parts["tip"] = "lakeFS does not have it", "is the name right, and may this key see it?"
        elif answer.status == 401:
            what, parts["tip"] = "the key is not accepted", f"check {ID_NAME} and its secret"
        elif answer.status == 429:
            parts["retry_after"] = wire.retry_after(answer.headers.get("retry-after"))
        return kind(
            what,
            provider=NAME,
            operation=asked.operation,
            reference=asked.reference,
            status=answer.status,
            **parts,
        )


def _store_failure(answer: Answer, path: str, asked: Asked) -> ProviderError:
    """The error for an answer of the object store, whose address and body hold signatures."""
    kind = wire.error_for(answer.status, wire.ApiError(""))
    what = "does not have it" if kind is NotFound else f"answered {answer.status}"
    return kind(
        f"the object store {what}: {one_line(path, 200)}",
        provider=NAME,
        operation=asked.operation,
        reference=asked.reference,
        status=answer.status,
    )
