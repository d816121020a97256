"""Signed requests to Amazon S3 for what obstore has no call for: versions, checksums, legal holds.

Credentials are found and requests are signed by botocore, which is imported when the first request is made. Answers
are read up to a limit and parsed without entities; redirects are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from threading import Lock
from typing import Any
from urllib.parse import quote, urlencode
from xml.etree import ElementTree

from mlflow_dsver import settings
from mlflow_dsver.errors import (
    AuthenticationFailed,
    DsverError,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    SettingsError,
    UnexpectedResponse,
    Unsupported,
)
from mlflow_dsver.providers.buckets.connect import INSTALL, Location, bucket_region, s3_session, s3_settings
from mlflow_dsver.providers.http.answers import Answer, NoResponse, ask, open_client
from mlflow_dsver.providers.http.wire import MalformedResponse
from mlflow_dsver.text import one_line

MAX_BODY = 64 << 20
"""Maximum bytes of an answer; a page of 1,000 keys of 1,024 characters has 3 MiB."""
AT_ONCE = 16
_BAD_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed")


class S3Requests:
    """Requests about a bucket; thread-safe, and each ends within the time of one operation."""

    def __init__(self, place: Location) -> None:
        found = s3_settings()
        self.place = place
        self._anonymous = found.anonymous
        self._session = None if found.keys else s3_session()
        self._credentials = None if found.anonymous else self._found(found.keys)
        region = found.region or (self._session.region_name if self._session is not None else None)
        self._region = region or bucket_region(place.bucket)
        if found.endpoint is not None:
            self._base = f"{found.endpoint.rstrip('/')}/{quote(place.bucket)}"
        elif "." in place.bucket:
            self._base = f"https://s3.{self._region}.amazonaws.com/{quote(place.bucket)}"
        else:
            self._base = f"https://{place.bucket}.s3.{self._region}.amazonaws.com"
        self._http = open_client(self._base, 2 * AT_ONCE)
        self._lock = Lock()

    def get(self, key: str = "", query: Mapping[str, str] | None = None, **how: Any) -> Answer:
        """GET an object's or, with an empty key, the bucket's sub-resource. Raises as `request`."""
        return self.request("GET", key, query, **how)

    def request(
        self,
        method: str,
        key: str = "",
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        operation: str = "list",
    ) -> Answer:
        """The answer to a signed request, which is idempotent: it is repeated when the store asks for that.

        Raises errors of this package.
        """
        if has_dot_segments(key):
            raise self._error(Unsupported, f"the key {one_line(key, 200)} cannot be asked for by HTTP", operation)
        text = urlencode(sorted((query or {}).items()), quote_via=quote, safe="-_.~")
        url = f"{self._base}/{quote(key, safe='/-_.~')}" + (f"?{text}" if text else "")
        try:
            answer = ask(
                self._http,
                method,
                url,
                lambda: self._signed(method, url, dict(headers or {}), body),
                body,
                seconds=settings.provider_timeout(),
                limit=MAX_BODY,
            )
        except NoResponse as error:
            failure = self._error(ProviderUnavailable, "the store did not answer", operation, str(error))
        except MalformedResponse as error:
            failure = self._error(UnexpectedResponse, str(error), operation)
        else:
            if answer.status < 300 or answer.status in (304, 412):
                return answer
            failure = self._meaning(answer, operation, key)
        raise failure

    def _signed(self, method: str, url: str, headers: dict[str, str], body: bytes) -> dict[str, str]:
        if self._anonymous:
            return headers
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method=method, url=url, data=body, headers=headers)
        with self._lock:  # refreshing credentials is not thread-safe in every version
            credentials = self._credentials.get_frozen_credentials()  # type: ignore[union-attr]
        S3SigV4Auth(credentials, "s3", self._region).add_auth(request)
        return {str(name): str(value) for name, value in request.headers.items()}

    def _found(self, keys: Any) -> Any:
        try:
            from botocore.credentials import Credentials
        except ImportError as error:
            raise SettingsError("listing versions of objects needs boto3", tip=INSTALL) from error
        if keys is not None:
            identifier, secret, token = keys
            return Credentials(identifier.reveal(), secret.reveal(), token.reveal() if token else None)
        found = self._session.get_credentials() if self._session is not None else None
        if found is None:
            raise AuthenticationFailed(
                "no credentials were found",
                provider="s3",
                operation="connect",
                reference=self.place.uri,
                tip="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or AWS_SKIP_SIGNATURE=1",
            )
        return found

    def _meaning(self, answer: Answer, operation: str, key: str) -> DsverError:
        code = _code(answer.body)
        shown = f"{answer.status} {code}".strip()
        what = f"the object {one_line(key, 200)}" if key else "the bucket"
        kinds: dict[int, tuple[type[DsverError], str]] = {
            301: (SettingsError, "the bucket is in another region: set AWS_REGION"),
            307: (SettingsError, "the bucket is in another region: set AWS_REGION"),
            401: (AuthenticationFailed, "the credentials are not accepted"),
            403: (PermissionDenied, f"{what} may not be read with these credentials"),
            404: (NotFound, f"{what} is gone" if key else f"there is no bucket {one_line(self.place.bucket, 80)}"),
            405: (NotFound, f"{what} is deleted"),
            429: (RateLimited, "the store asks for fewer requests"),
            501: (Unsupported, "the store has no such request"),
            503: (RateLimited, "the store asks for fewer requests"),
        }
        kind, text = kinds.get(answer.status, (UnexpectedResponse, "the store refuses the request"))
        if code in _BAD_KEYS:
            kind, text = AuthenticationFailed, "the credentials are not accepted"
        if answer.status in (500, 502, 504):
            kind, text = ProviderUnavailable, "the store has an error"
        return self._error(kind, text, operation, shown)

    def _error(self, kind: type[DsverError], what: str, operation: str, got: object = None) -> DsverError:
        if issubclass(kind, SettingsError):
            return kind(what, reference=self.place.uri, got=got)
        parts: dict[str, Any] = {"provider": "s3", "operation": operation, "reference": self.place.uri, "got": got}
        return kind(what, **parts)


_clients: dict[tuple[object, ...], S3Requests] = {}


def requests_of(place: Location) -> S3Requests:
    """The client of a bucket, one for a process and its environment."""
    variables = settings.of_provider("s3", ("AWS_", "MLFLOW_S3_"))
    key = (os.getpid(), place.bucket, tuple(sorted(variables.items())))
    if key not in _clients:
        while len(_clients) >= AT_ONCE:
            _clients.pop(next(iter(_clients)), None)
        _clients[key] = S3Requests(place)
    return _clients[key]


def has_dot_segments(key: str) -> bool:
    """Whether a key has a segment `.` or `..`: HTTP clients take it out, and would ask for another object."""
    return any(segment in (".", "..") for segment in key.split("/"))


def parse_xml(body: bytes, place: Location) -> ElementTree.Element:
    """The root of an XML answer. Raises UnexpectedResponse for anything else, and for one that declares entities."""
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\0" in body:  # a NUL: UTF-16 could hide them
            raise ElementTree.ParseError("a document type")
        return ElementTree.fromstring(body)  # noqa: S314  (no document type, so no entities)
    except ElementTree.ParseError as error:
        raise UnexpectedResponse(
            "the store's answer is no XML", provider="s3", operation="list", reference=place.uri, got=str(error)
        ) from error


def _code(body: bytes) -> str:
    start = body.find(b"<Code>")
    end = body.find(b"</Code>", start)
    code = body[start + 6 : end].decode("ascii", "replace") if 0 <= start < end < start + 80 else ""
    return code if code.isalnum() else ""
