"""Requests to the Hub's REST API: JSON, pages, and the bytes of files, with its errors mapped to this package's.

The token goes to the endpoint and to nothing else. Redirects on the endpoint (a renamed repository) are followed with
it; redirects elsewhere (the storage of large files) without, and only to https at a public address, or to this
machine where the endpoint is on it as well. Links to further pages are read for their query alone. Addresses of the
storage are signed, so no error quotes one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from mlflow_dsver.deadlines import bounded
from mlflow_dsver.errors import (
    AuthenticationFailed,
    CorruptObject,
    NotFound,
    PermissionDenied,
    ProviderError,
    ProviderUnavailable,
    UnexpectedResponse,
)
from mlflow_dsver.providers.hf.account import TOKEN_NAME, Account
from mlflow_dsver.providers.hf.info import KINDS, NAME, Place
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.answers import Answer, NoResponse, ask, open_client
from mlflow_dsver.providers.http.downloads import PublicOnly
from mlflow_dsver.secrets import redact
from mlflow_dsver.text import one_line

NO_REPOSITORY, NO_REVISION, NO_ENTRY = "RepoNotFound", "RevisionNotFound", "EntryNotFound"
"""The Hub's codes, in the header X-Error-Code; an error has them as `code`."""
AT_ONCE = 32
MAX_JSON = 16 << 20
"""Bytes of an answer in JSON; a page of 1,000 files has a tenth of it."""
MAX_REDIRECTS = 4
_REDIRECTS = (301, 302, 303, 307, 308)
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})\Z")
_NEXT = re.compile(r'<([^<>]{1,4000})>[^,<]{0,200};\s*rel="?next"?')
_KEPT = 4
_hubs: dict[object, Hub] = {}
_RATE = re.compile(r"\bt=(\d{1,6})")


class Asked(NamedTuple):
    """What a request is for, in errors. reference: a DatasetRef, or its text."""

    operation: str
    reference: object
    place: Place


class Part(NamedTuple):
    """Bytes of a file, and the size of the whole."""

    content: bytes
    size: int


def hub_of(account: Account) -> Hub:
    """The endpoint of an account; the last ones are kept with their connections, as many files are opened of one."""
    key = account.endpoint, account.token, account.cache, account.offline, account.timeout
    found = _hubs.get(key)
    if found is None:
        while len(_hubs) >= _KEPT:
            _hubs.pop(next(iter(_hubs)), None)
        found = _hubs[key] = Hub(account)
    return found


class Hub:
    """The endpoint of an account. Thread-safe; its connections are those of one process."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._origin = _origin(account.endpoint)
        self._local = wire.is_loopback(urlsplit(account.endpoint).hostname or "")
        self._pid = -1
        self._open()

    def __repr__(self) -> str:
        return f"Hub({self.account.endpoint})"

    def api(self, place: Place, *segments: str) -> str:
        """The path of a repository's resource."""
        path = "/".join(("api", place.kind, *map(_quoted, (*place.repo.split("/"),))))
        return "/".join((path, *map(_quoted, segments)))

    def page_url(self, place: Place, *segments: str) -> str:
        """The address of a repository's page."""
        parts = (self.account.endpoint, f"{KINDS[place.kind]}{quote(place.repo)}", *map(_quoted, segments))
        return "/".join(parts) + (f"/{quote(place.path)}" if place.path else "")

    def json(self, path: str, asked: Asked, query: Mapping[str, str] | None = None) -> Any:
        """The JSON of an answer."""
        return self._json(path, asked, query or {})[0]

    def pages(self, path: str, asked: Asked, query: Mapping[str, str]) -> Iterator[Any]:
        """All items of a listing, each page fetched when it is needed."""
        wanted: dict[str, str] = dict(query)

        def fetch(token: str | None) -> tuple[list[Any], str | None]:
            value, following = self._json(path, asked, wanted if token is None else dict(parse_qsl(token)))
            if not isinstance(value, list):
                raise self.unexpected("a listing that is no list", asked, value)
            return value, following

        return wire.walk_pages(fetch, asked.operation, NAME)

    def read(self, place: Place, commit: str, path: str, span: tuple[int, int], asked: Asked, size: int) -> Part:
        """Bytes of a file at a commit. path: from the repository's root. span: from and to. size: of the whole.

        Raises NotFound when it is not there, CorruptObject when it ends before the span does.
        """
        address = f"{KINDS[place.kind]}{quote(place.repo)}/resolve/{commit}/{quote(path, safe='/')}"
        start, stop = span
        headers = {} if span == (0, size) else {"Range": f"bytes={start}-{stop - 1}"}
        limit = stop - start + (1 << 20)
        answer, own = self._follow(f"{self.account.endpoint}/{address}", asked, headers, limit)
        if answer.status == 416:
            raise _shorter(path, asked)
        if answer.status not in (200, 206):
            raise self._failure(answer, asked) if own else _storage_failure(answer, path, asked)
        try:
            content = wire.unpack(answer.body, answer.headers.get("content-encoding"), limit)
        except wire.MalformedResponse as error:
            raise self.unexpected(str(error), asked, None) from error
        if answer.status == 200:
            return Part(content[start:stop], len(content))
        found = _RANGE.match(answer.headers.get("content-range", ""))
        if found is None or int(found[1]) != start:
            raise self.unexpected("a part of a file that was not asked for", asked, None)
        return Part(content, int(found[3]))

    def unexpected(self, what: str, asked: Asked, got: object) -> UnexpectedResponse:
        """The error for an answer that does not follow the API."""
        return UnexpectedResponse(
            what,
            provider=NAME,
            operation=asked.operation,
            reference=asked.reference,
            got=None if got is None else one_line(got, 80),
        )

    def _json(self, path: str, asked: Asked, query: Mapping[str, str]) -> tuple[Any, str | None]:
        """The JSON of an answer, and the query of the next page."""
        text = urlencode(query)
        url = f"{self.account.endpoint}/{path}" + (f"?{text}" if text else "")
        answer, _ = self._follow(url, asked, {}, MAX_JSON)
        if answer.status != 200:
            raise self._failure(answer, asked)
        try:
            value = wire.read_json(self._text(answer))
        except wire.MalformedResponse as error:
            raise self.unexpected(f"an answer that cannot be read: {error}", asked, None) from error
        found = _NEXT.search(answer.headers.get("link", ""))
        return value, urlsplit(found[1]).query if found else None

    def _follow(self, url: str, asked: Asked, headers: Mapping[str, str], limit: int) -> tuple[Answer, bool]:
        """The answer to a GET, behind redirects, and whether it is of the endpoint itself."""
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get(url, asked, headers, limit)
            location = answer.headers.get("location")
            if answer.status not in _REDIRECTS or not location:
                return answer, _origin(url) == self._origin
            try:
                url = self._joined(url, location)
                self._check(url, asked)
            except ValueError as error:
                raise self.unexpected("a redirect to an address that cannot be read", asked, None) from error
        raise self.unexpected(f"more than {MAX_REDIRECTS} redirects", asked, None)

    def _get(self, url: str, asked: Asked, headers: Mapping[str, str], limit: int) -> Answer:
        if self.account.offline:
            raise self._unavailable("HF_HUB_OFFLINE is set, so the Hub is not asked", asked, None)
        if self._pid != os.getpid():  # a fork shares the sockets of its parent
            self._open()
        own = _origin(url) == self._origin
        token = self.account.token if own else None
        sent = dict(headers) | ({"Authorization": f"Bearer {token.reveal()}"} if token is not None else {})
        where = urlsplit(url).hostname
        try:
            seconds = bounded(self.account.timeout).left()
            return ask(self._own if own else self._other, "GET", url, lambda: sent, seconds=seconds, limit=limit)
        except NoResponse as error:
            message = redact(str(error), [self.account.token]).partition("?")[0]
            raise self._unavailable(f"no answer from {where}", asked, message) from None
        except wire.MalformedResponse as error:
            raise self.unexpected(f"{error} from {where}", asked, None) from None

    def _open(self) -> None:
        self._pid = os.getpid()
        self._own = open_client(self.account.endpoint, AT_ONCE)
        self._other = open_client(self.account.endpoint, AT_ONCE)
        if not self._local:
            self._other.mount("https://", PublicOnly(pool_maxsize=AT_ONCE))

    def _joined(self, url: str, location: str) -> str:
        """Where a redirect leads. One of the endpoint to itself keeps the query: without it a listing is shorter."""
        found, query = urljoin(url, location), urlsplit(url).query
        if query and _origin(found) == self._origin and not urlsplit(found).query:
            found += f"?{query}"
        return found

    def _check(self, url: str, asked: Asked) -> None:
        """Raise UnexpectedResponse for a redirect that is not followed."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        allowed = _origin(url) == self._origin or parts.scheme == "https"
        if wire.is_loopback(host):
            allowed = self._local and parts.scheme in ("http", "https")
        if not allowed or parts.username is not None or not url.isascii() or not url.isprintable():
            raise self.unexpected("a redirect to an address that is not followed", asked, host)

    def _text(self, answer: Answer) -> str:
        body = wire.unpack(answer.body, answer.headers.get("content-encoding"), MAX_JSON)
        return redact(body.decode("utf-8", "replace"), [self.account.token])

    def _unavailable(self, what: str, asked: Asked, got: object) -> ProviderUnavailable:
        return ProviderUnavailable(what, got=got, provider=NAME, operation=asked.operation, reference=asked.reference)

    def _failure(self, answer: Answer, asked: Asked) -> ProviderError:
        code = one_line(answer.headers.get("x-error-code", ""), 40)
        message = self._message(answer)
        parts: dict[str, Any] = {
            "provider": NAME,
            "operation": asked.operation,
            "reference": asked.reference,
            "status": answer.status,
            "code": code or None,
            "got": message or None,
        }
        if refused := self._refused(answer.status, code, message, asked, parts):
            return refused
        if answer.status in (404, 410) and (code or message):
            return NotFound(*_missing(code, asked), **parts, tip="is the name right, and may this token see it?")
        kind = wire.error_for(answer.status, wire.ApiError(message, code) if code or message else None)
        if answer.status == 429:
            asks = _RATE.search(answer.headers.get("ratelimit", ""))
            wait = wire.retry_after(answer.headers.get("retry-after")) or (float(asks[1]) if asks else None)
            tip = "again later; with a token the Hub's limits are higher"
            return kind("too many requests", **parts, retry_after=wait, tip=tip)
        if kind is UnexpectedResponse:
            return kind(f"answered {answer.status} without the Hub's own error", **parts, tip="is HF_ENDPOINT right?")
        return kind(f"answered {answer.status}", **parts)

    def _refused(
        self, status: int, code: str, message: str, asked: Asked, parts: dict[str, Any]
    ) -> ProviderError | None:
        """The error for a token that may not, or for none; None for other failures."""
        page = self.page_url(asked.place.whole)
        if code == "GatedRepo":
            if status == 401 or self.account.token is None:
                return AuthenticationFailed(
                    "the repository is gated", **parts, tip=f"set {TOKEN_NAME}, and see {page}"
                )
            return PermissionDenied(
                "the repository is gated, and this token has no access", **parts, tip=f"ask at {page}"
            )
        if "resource is disabled" in message:
            return PermissionDenied("Hugging Face has disabled this repository", **parts)
        if status == 401 and "Invalid" in message:
            return AuthenticationFailed("the token is not accepted", **parts, tip=f"check {TOKEN_NAME}")
        if status == 401 and (self.account.token is None or code != NO_REPOSITORY):
            what = "no such repository, or it is private: without a token the Hub does not tell"
            if self.account.token is not None:
                what = "the Hub asks for another token"
            return AuthenticationFailed(what, **parts, tip=f"is the name right? else set {TOKEN_NAME}")
        if status == 401:
            return NotFound(*_missing(code, asked), **parts)
        if status == 403:
            return PermissionDenied("this token may not read it", **parts, tip=f"see {page}")
        return None

    def _message(self, answer: Answer) -> str:
        """The error in words, from its header or its body; empty for an answer that is not of the Hub."""
        if header := answer.headers.get("x-error-message"):
            return redact(one_line(header, 300), [self.account.token])
        try:
            value = wire.read_json(self._text(answer))
        except wire.MalformedResponse:
            return ""
        text = value.get("error") if isinstance(value, dict) else None
        return one_line(text, 300) if isinstance(text, str) else ""


def _missing(code: str, asked: Asked) -> tuple[str]:
    if code == NO_REPOSITORY:
        return ("no such repository, or this token may not see it",)
    if code == NO_REVISION:
        return ("the repository has no such revision",)
    if code == NO_ENTRY:
        return ("the commit has no such file or folder",)
    return ("the Hub does not have it",)


def _storage_failure(answer: Answer, path: str, asked: Asked) -> ProviderError:
    """The error for an answer of the storage of large files, whose address and body hold signatures."""
    kind, what = wire.error_for(answer.status, wire.ApiError("")), f"answered {answer.status}"
    if kind is NotFound:
        what = "does not have it"
    return kind(
        f"the Hub's storage {what}: {one_line(path, 200)}",
        provider=NAME,
        operation=asked.operation,
        reference=asked.reference,
        status=answer.status,
    )


def _shorter(path: str, asked: Asked) -> CorruptObject:
    return CorruptObject(
        f"the file {one_line(path, 200)} is shorter than was recorded",
        reference=asked.reference,
        done="Nothing was served",
    )


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _quoted(text: str) -> str:
    return quote(text, safe="")
