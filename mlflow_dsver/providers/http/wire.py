"""Rules for REST APIs that need no network: mapping of statuses to errors, retries, JSON parsing, addresses, paging.

Responses are untrusted: JSON is bounded in depth and in the length of its numbers, duplicate keys and NaN are
refused, and a listing cannot loop for ever. `session` applies these rules.
"""

from __future__ import annotations

import ipaddress
import json
import random
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlsplit

from mlflow_dsver.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SettingsError,
    UnexpectedResponse,
)
from mlflow_dsver.model.refs import check_name
from mlflow_dsver.text import one_line

Item = TypeVar("Item")

ERRORS: Mapping[int, type[ProviderError]] = {
    401: AuthenticationFailed,
    402: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    408: ProviderUnavailable,
    410: NotFound,
    429: RateLimited,
}
"""The error for each status; any other from 400 on is a ProviderError, from 500 on ProviderUnavailable."""

RETRIED_VERBS = frozenset({"GET", "HEAD"})
"""Only idempotent reads are retried: a create whose response was lost may have succeeded."""
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
TRIES = 4
BACKOFF = (0.5, 1.0, 2.0)
"""Seconds before each retry, each randomised between half and the whole of it, so that clients spread out."""
RETRY_AFTER_LIMIT = 60.0
"""Maximum `Retry-After` in seconds; a longer one raises the error at once instead."""

MAX_DEPTH = 64
MAX_NUMBER = 400
"""Maximum characters of a number in JSON; more than any size, date or measure needs."""
MAX_PAGES = 10_000


class MalformedResponse(ValueError):
    """A malformed response body: too large, truncated or not JSON. The message says why and quotes none of it."""


class TruncatedResponse(MalformedResponse):
    """The body ended too early; a retry may succeed."""


@dataclass(frozen=True, slots=True)
class ApiError:
    """The error that a response body describes.

    status: the HTTP status that this means, where the vendor returns failures with status 200; None for the
    response's own. details: further text, such as which fields were refused; empty for none. raw_details: the same as
    received, for programs; None for none.
    """

    message: str
    code: str = ""
    details: str = ""
    status: int | None = None
    raw_details: object = None


@dataclass(frozen=True, slots=True)
class ApiProfile:
    """How a service authenticates requests and describes errors.

    provider: the provider's name. scheme: the word before the key in `Authorization`. key_name: the key's name in
    tips, such as its environment variable. read_error: from a response's status and parsed body to the error that it
    describes; None when it describes none.
    """

    provider: str
    scheme: str
    key_name: str
    read_error: Callable[[int, Any], ApiError | None]


def error_for(status: int, api_error: ApiError | None) -> type[ProviderError]:
    """The error class for a status; api_error: None when the body is not in the service's own error format."""
    if status < 400:
        return UnexpectedResponse
    if api_error is None and ERRORS.get(status) is NotFound:
        return UnexpectedResponse  # a page of a web server or proxy, whose 404 says nothing about the dataset
    return ERRORS.get(status, ProviderUnavailable if status >= 500 else ProviderError)


def retry_after(header: str | None) -> float | None:
    """Seconds in a `Retry-After` header, given as a number or as a date; None when missing or malformed."""
    if header is None:
        return None
    text = header.strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text, re.ASCII):
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def wait_before(attempt: int, retry_after: float | None) -> float | None:
    """Seconds to wait before retry number `attempt` (from 1); None when there should be no retry.

    retry_after: the seconds of `Retry-After`; None if it is missing.
    """
    if attempt >= TRIES or (retry_after is not None and retry_after > RETRY_AFTER_LIMIT):
        return None
    if retry_after is not None:
        return retry_after
    return BACKOFF[attempt - 1] * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load; guards nothing)


def read_json(text: str) -> Any:
    """Parse JSON. Raises MalformedResponse, also for NaN, infinity, duplicate keys, deep nesting and long numbers.

    Lone surrogates, which files and databases reject, become U+FFFD.
    """
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_number,
            object_pairs_hook=_object,
        )
    except RecursionError as error:
        raise MalformedResponse("nested too deeply") from error
    except json.JSONDecodeError as error:
        raise MalformedResponse(f"not JSON from character {error.pos} on") from None  # the error holds the whole body
    return _plain(value, MAX_DEPTH)


def unpack(body: bytes, encoding: str | None, limit: int) -> bytes:
    """The body without its `Content-Encoding`. Raises MalformedResponse for more than `limit` bytes."""
    kind = (encoding or "identity").strip().lower()
    if kind == "identity":
        return body
    if kind not in ("gzip", "x-gzip"):
        raise MalformedResponse(f"an answer packed as {one_line(kind, 20)}, which was not asked for")
    unpacker = zlib.decompressobj(wbits=31)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise MalformedResponse("an answer that cannot be unpacked") from error
    if len(plain) > limit:
        raise MalformedResponse(f"an answer of more than {limit} bytes when unpacked")
    if not unpacker.eof:
        raise TruncatedResponse("an answer that was cut")
    return plain


def check_base(address: str, name: str) -> str:
    """Return a base address without a trailing slash, or raise SettingsError, which names the setting.

    https only, except http on this machine: a key is never sent unencrypted over a network.
    """
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        raise SettingsError(f"{name} is not an address", expected="https://host/path") from error
    if not address.isascii() or not address.isprintable() or " " in address or not parts.hostname:
        raise SettingsError(f"{name} is not an address", expected="https://host/path", got=one_line(address, 80))
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise SettingsError(f"{name} has more than a host and a path", expected="no user, password, ? or #")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise SettingsError(
            f"{name} would send the key in the clear",
            expected="https, or http on this machine",
            got=one_line(address, 80),
        )
    if parts.scheme not in ("http", "https"):
        raise SettingsError(f"{name} is not an address", expected="https://host/path", got=one_line(address, 80))
    return address.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def segment(identifier: str) -> str:
    """An id as one quoted segment of an address; raises InvalidReference for one that would escape its path."""
    return quote(check_name(identifier, "an id"), safe="")


def walk_pages(
    fetch: Callable[[str | None], tuple[list[Item], str | None]], what: str, provider: str
) -> Iterator[Item]:
    """All items of a listing, page by page, each fetched when it is needed.

    fetch: takes the token of a page, None for the first, and returns its items and the token of the next page, None
    for none. Ends with an empty page or without a token. Raises UnexpectedResponse for a repeated token and after
    10,000 pages, because the listing is incomplete then.
    """
    token: str | None = None
    seen: set[str] = set()
    for _ in range(MAX_PAGES):
        items, token = fetch(token)
        yield from items
        if not items or token is None:
            return
        if token in seen:
            raise UnexpectedResponse("the same page is offered twice", provider=provider, operation=what)
        seen.add(token)
    raise UnexpectedResponse(f"more than {MAX_PAGES} pages", provider=provider, operation=what)


def excerpt(text: str, limit: int = 160) -> str:
    """The beginning of a response that is not JSON, without markup, on one line."""
    bare = re.sub(r"(?is)<(script|style)\b.*?(</\1\s*>|\Z)", " ", text[:20_000])
    bare = " ".join(re.sub(r"<[^<>]*>", " ", bare).split())
    return one_line(bare or text.strip(), limit)


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedResponse(f"{name} is no number of JSON")


def _integer(digits: str) -> int:
    if len(digits) > MAX_NUMBER:
        raise MalformedResponse(f"a number of {len(digits)} digits")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits) if len(digits) <= MAX_NUMBER else float("inf")
    if number in (float("inf"), float("-inf")):
        raise MalformedResponse("a number that is too large or too long")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedResponse("a key that stands twice in an object")
    return found


def _plain(value: Any, depth: int) -> Any:
    """The value with its strings made encodable; raises for too much depth."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict | list):
        if depth == 0:
            raise MalformedResponse("nested too deeply")
        if isinstance(value, list):
            return [_plain(item, depth - 1) for item in value]
        return {_plain(key, depth - 1): _plain(item, depth - 1) for key, item in value.items()}
    return value
