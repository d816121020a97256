"""Authenticated HTTP with timeouts, retries and error mapping.

A `Session` sends requests to one base address and ends within its time-out whatever the server does: hang, send a
byte at a time, close the connection, redirect, or send malformed data. The key is sent to the base address only, in
the `Authorization` header only, and is removed from every text before that reaches an error or a log. A session
belongs to one thread and one operation.

Time-outs of requests hold for one read, so each exchange is bounded as a whole (see `bounded`).
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3

from mlflow_dsver import settings
from mlflow_dsver._version import __version__
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded, bounded, within
from mlflow_dsver.errors import (
    AuthenticationFailed,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    SettingsError,
    UnexpectedResponse,
)
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.wire import ApiError, ApiProfile
from mlflow_dsver.secrets import HIDDEN, Secret, redact
from mlflow_dsver.text import one_line

log = logging.getLogger(__name__)

USER_AGENT = f"mlflow-dsver/{__version__}"
"""Our own, because some vendors' front servers turn away the default names of libraries."""
CONNECT_TIMEOUT = 5.0
"""Seconds to connect."""
READ_TIMEOUT = 20.0
"""Seconds without receiving a byte: a slow listing takes some seconds at most."""
MAX_BODY = 16 << 20
"""Maximum bytes of a response, decompressed; a full page of versions with much metadata stays below a tenth of it."""
_CHUNK = 1 << 16
Result = TypeVar("Result")


class NoResponse(Exception):
    """No complete response; the message says why, in one line. transient: a retry may succeed."""

    def __init__(self, message: str, *, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True, slots=True)
class _Raw:
    """A response as received: the body decompressed, secrets removed."""

    status: int
    text: str
    retry_after: float | None


class Session:
    """Requests to the service at `base`. Use it in a `with` block; it keeps a connection open.

    profile: how the service authenticates and describes errors. key: None raises AuthenticationFailed at the first
    call. base_name: the setting that `base` comes from, for errors. timeout: seconds for each call with its retries;
    None takes the setting. deadline: for all calls together, instead.
    """

    def __init__(
        self,
        base: str,
        profile: ApiProfile,
        key: Secret | None,
        *,
        base_name: str = "the base address",
        timeout: float | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        self.base = wire.check_base(base, base_name)
        self.profile = profile
        self.timeout = timeout if timeout is not None else settings.provider_timeout()
        self.deadline = deadline
        self._key = key
        self._local = wire.is_loopback(urlsplit(self.base).hostname or "")
        self._http = open_http(local=self._local)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session({self.profile.provider} at {self.base})"

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def call(
        self,
        verb: str,
        path: tuple[str, ...],
        operation: str,
        *,
        reference: object = None,
        query: Mapping[str, str | int | list[str] | None] | None = None,
        body: object = None,
        confidential: bool = False,
        seconds: float | None = None,
    ) -> Any:
        """The parsed JSON of the response to one request, after retries where the verb allows them.

        path: segments below the base; each is quoted, and refused when it would escape the base address. query:
        entries with None are left out. body: sent as JSON; None sends none. confidential: the response holds secrets
        of others, and no error quotes it. seconds: a time-out for this call, in addition to that of the session.
        Raises a ProviderError for every kind of failure.
        """
        parts: dict[str, Any] = {"provider": self.profile.provider, "operation": operation, "reference": reference}
        if self._key is None:
            raise AuthenticationFailed("no key is set", tip=f"set {self.profile.key_name}", **parts)
        request = requests.Request(
            verb,
            "/".join((self.base, *map(wire.segment, path))),
            params={name: value for name, value in (query or {}).items() if value is not None},
            data=None if body is None else _sent(body),
            headers={} if body is None else {"Content-Type": "application/json"},
            auth=Authorization(self.profile.scheme, self._key),
        )
        deadline = self.deadline or bounded(self.timeout)
        if seconds is not None:
            deadline = Deadline(min(seconds, deadline.left()))
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(request, deadline, parts, confidential)
            except _Failed as failed:
                may = failed.transient and verb in wire.RETRIED_VERBS
                wait = wire.wait_before(attempt, failed.retry_after) if may else None
                if wait is None or wait >= deadline.left():
                    failed.explain_wait(deadline)
                    raise failed.error from failed.cause
                log.info("%s %s: %s; again in %.1f s", self.profile.provider, operation, failed.error.what, wait)
                deadline.sleep(wait)

    def _once(
        self, request: requests.Request, deadline: Deadline, parts: Mapping[str, Any], confidential: bool
    ) -> Any:
        def read(response: requests.Response) -> _Raw:
            body = read_body(response, deadline, MAX_BODY)
            text = redact(_decoded(body, response.headers.get("Content-Encoding")), [self._key])
            return _Raw(response.status_code, text, wire.retry_after(response.headers.get("Retry-After")))

        try:
            raw = exchange(self._http, request, deadline, read, secrets=[self._key])
        except wire.MalformedResponse as error:
            failure = UnexpectedResponse(str(error), **parts)
            raise _Failed(failure, transient=isinstance(error, wire.TruncatedResponse)) from None
        except NoResponse as error:
            if deadline.left() <= 0:
                self._http = open_http(local=self._local)  # the abandoned thread may still use the old connection
            raise _Failed(
                self._unreachable(str(error), deadline, parts), ConnectionError(str(error)), error
            ) from None
        try:
            return self._value_of(raw, parts)
        except _Failed as failed:
            if confidential:
                failed.hide()
            raise

    def _unreachable(self, message: str, deadline: Deadline, parts: Mapping[str, Any]) -> ProviderUnavailable:
        what = f"no answer from {urlsplit(self.base).netloc}"
        if deadline.left() <= 0:
            what = f"no whole answer from {urlsplit(self.base).netloc} within {deadline.seconds:g} seconds"
        return ProviderUnavailable(what, got=message, tip="again later; is the address right?", **parts)

    def _value_of(self, raw: _Raw, parts: Mapping[str, Any]) -> Any:
        """The value of a successful response; raises _Failed for any other."""
        try:
            value = wire.read_json(raw.text)
        except wire.MalformedResponse as fault:
            if raw.status not in range(200, 300):
                raise self._failure(raw, None, None, parts) from None
            what, shown = f"an answer that cannot be read: {fault}", wire.excerpt(raw.text)
            payload = raw.text[:10_000]
            error = UnexpectedResponse(what, status=raw.status, got=shown, payload=payload, **parts)
            raise _Failed(error, transient=True) from None
        api_error = self.profile.read_error(raw.status, value)
        if raw.status in range(200, 300) and api_error is None:
            return value
        raise self._failure(raw, value, api_error, parts)

    def _failure(self, raw: _Raw, value: Any, api_error: ApiError | None, parts: Mapping[str, Any]) -> _Failed:
        status = api_error.status if api_error and api_error.status else raw.status
        kind = wire.error_for(status, api_error)
        if api_error:
            what = one_line(api_error.message, 300) or "refused without a word"
            got = one_line(" ".join(part for part in (api_error.code, api_error.details) if part), 500) or None
        else:
            what = f"answered {raw.status} without the API's own error"
            got = wire.excerpt(raw.text) or None
        special: dict[str, Any] = {"payload": raw.text[:10_000] if value is None else value}
        if api_error:
            special |= {"code": api_error.code or None, "details": api_error.raw_details or api_error.details or None}
        if kind is RateLimited:
            special |= {"retry_after": raw.retry_after, "tip": "again later, or fewer requests"}
        elif kind is UnexpectedResponse:
            special |= {"tip": "is the base address right?"}
        elif kind is AuthenticationFailed:
            special |= {"tip": f"check {self.profile.key_name}"}
        elif kind is NotFound:
            special |= {"tip": "is the name right, and may this key see it?"}
        error = kind(what, got=got, status=raw.status, **special, **parts)
        return _Failed(error, retry_after=raw.retry_after, transient=status in wire.RETRIED_STATUSES)


class _Failed(Exception):  # carries a failure to the one place that decides on a retry
    def __init__(
        self,
        error: ProviderError,
        cause: Exception | None = None,
        no_response: NoResponse | None = None,
        *,
        retry_after: float | None = None,
        transient: bool = False,
    ) -> None:
        self.error, self.cause, self.retry_after = error, cause, retry_after
        self.transient = transient or (no_response is not None and no_response.transient)

    def hide(self) -> None:
        """Drop the details of the response, which may be confidential."""
        self.error.got = HIDDEN
        self.error.payload = self.error.details = None

    def explain_wait(self, deadline: Deadline) -> None:
        """Add how long the service asked to wait, where that is why there was no retry."""
        if self.retry_after is not None and self.error.done is None and self.retry_after > 0:
            bound = min(wire.RETRY_AFTER_LIMIT, deadline.left())
            if self.retry_after >= bound:
                asked = f"It asks to wait {round(self.retry_after)} seconds"
                self.error.done = f"{asked}, and {bound:.3g} are waited at most; not tried again"


class Authorization(requests.auth.AuthBase):
    """Sets the key's header; None sends no key. Without an `auth` object, requests would read .netrc."""

    def __init__(self, scheme: str, key: Secret | None) -> None:
        self._scheme, self._key = scheme, key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """The request with the header. Raises SettingsError for a key that no header can have."""
        if self._key is not None:
            value = self._key.reveal()
            if not value.isascii() or not value.isprintable() or " " in value:
                raise SettingsError("the key has characters that no key has (a line break or a blank, perhaps)")
            request.headers["Authorization"] = f"{self._scheme} {value}"
        return request


class _Http(requests.Session):
    """Follows no redirect: to find its target, requests would read the whole body."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: no response is treated as a redirect."""


def open_http(*, local: bool) -> requests.Session:
    """A requests session without retries of its own. local: ignore the environment's proxies for this machine."""
    http = _Http()
    http.trust_env = not local
    http.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip"})
    return http


def exchange(
    http: requests.Session,
    request: requests.Request,
    deadline: Deadline,
    take: Callable[[requests.Response], Result],
    *,
    secrets: list[Secret | None],
) -> Result:
    """Send a request, follow no redirect, and return `take(response)`, all before the deadline.

    Raises NoResponse for every network failure, without secrets in the message; errors of `take` propagate.
    """
    prepared = http.prepare_request(request)
    environment = http.merge_environment_settings(prepared.url or "", {}, True, None, None)
    timeouts = (
        min(CONNECT_TIMEOUT, max(0.001, deadline.left())),
        min(READ_TIMEOUT, max(0.001, deadline.left())),
    )

    def work() -> Result:
        with http.send(prepared, timeout=timeouts, allow_redirects=False, **environment) as response:
            return take(response)

    try:
        deadline.check("the request")
        return within(deadline, work)
    except wire.MalformedResponse:
        raise
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        message, late = redact(_error_text(error), secrets), isinstance(error, DeadlineExceeded)
    raise NoResponse(message, transient=not late)  # outside `except`: the library's exception holds the key


def read_body(response: requests.Response, deadline: Deadline, limit: int, target: IO[bytes] | None = None) -> bytes:
    """The body as received, written to target or returned; the deadline is checked after each chunk."""
    pieces: list[bytes] = []
    total = 0
    while piece := response.raw.read1(_CHUNK, decode_content=False):
        deadline.check("the answer")
        total += len(piece)
        if total > limit:
            raise wire.MalformedResponse(f"an answer of more than {limit} bytes")
        if target is None:
            pieces.append(piece)
        else:
            target.write(piece)
    return b"".join(pieces)


def _decoded(body: bytes, encoding: str | None) -> str:
    return wire.unpack(body, encoding, MAX_BODY).decode("utf-8", "replace")


def _sent(body: object) -> bytes:
    return json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _error_text(error: Exception) -> str:
    """The message of a library's exception, short, without memory addresses."""
    reason: BaseException = error
    for _ in range(6):  # the libraries wrap the cause several times
        wrapped = (getattr(reason, "reason", None), *reason.args)
        inner = next((each for each in wrapped if isinstance(each, Exception)), None)
        if inner is None:
            break
        reason = inner
    text = re.sub(r"\A<?[\w.]*HTTPS?Connection\w*[^:>]*>?:\s*", "", str(reason))
    return one_line(f"{type(reason).__name__}: {text}", 200)
