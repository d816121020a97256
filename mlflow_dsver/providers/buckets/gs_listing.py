"""Lists a prefix of Google Cloud Storage by its JSON API: one request for 1,000 objects, with all that it knows.

The generation is the version id, and MD5 and CRC32C come with the listing; an object composed of others has no MD5.
Google's own library (google-auth, which MLflow brings) finds the credentials; without any, requests are anonymous.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from urllib.parse import quote, urlencode

from mlflow_dsver import settings
from mlflow_dsver.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    UnexpectedResponse,
)
from mlflow_dsver.model.evidence import Checksum, checked, ordered
from mlflow_dsver.providers.buckets.connect import Location, gs_emulator
from mlflow_dsver.providers.buckets.objects import Listing, ObjectState
from mlflow_dsver.providers.http.answers import NoResponse, ask, open_client
from mlflow_dsver.providers.http.wire import MalformedResponse, read_json

MAX_BODY = 64 << 20
SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_FIELDS = "nextPageToken,items(name,generation,size,etag,md5Hash,crc32c,updated)"


def list_objects(place: Location) -> Listing:
    """The objects below a prefix; the object with that very key when there are none."""
    api = _Api(place)
    found = [state for state in api.objects(place.key("")) if state.key.startswith(place.key(""))]
    if not found and place.prefix:
        found = [state for state in islice(api.objects(place.prefix), 1) if state.key == place.prefix]
    return Listing(found, api.moment, api.keeps_versions(), "objects")


class _Api:
    """The JSON API. moment: of the server's clock at its first answer; None where it does not tell."""

    def __init__(self, place: Location) -> None:
        self.place = place
        self.moment: datetime | None = None
        self._base = f"{(gs_emulator() or 'https://storage.googleapis.com').rstrip('/')}/storage/v1/b"
        self._http = open_client(self._base, 1)
        self._token = None if gs_emulator() else _credentials()

    def objects(self, prefix: str) -> Iterator[ObjectState]:
        query = {"prefix": prefix, "maxResults": "1000", "fields": _FIELDS}
        seen = set()
        while True:
            page = self._get(f"{quote(self.place.bucket, safe='')}/o", query)
            items, token = page.get("items") or [], page.get("nextPageToken") or ""
            if not isinstance(items, list) or not isinstance(token, str):
                raise self._error(UnexpectedResponse, "a page that is none")
            yield from map(self._state, items)
            if not token:
                return
            if token in seen:
                raise self._error(UnexpectedResponse, "a page that has itself as the next one")
            seen.add(token)
            query["pageToken"] = token

    def keeps_versions(self) -> bool | None:
        try:
            found = self._get(quote(self.place.bucket, safe=""), {"fields": "versioning"})
        except PermissionDenied:
            return None
        versioning = found.get("versioning")
        return isinstance(versioning, Mapping) and versioning.get("enabled") is True

    def _get(self, path: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        url = f"{self._base}/{path}?{urlencode(query)}"
        seconds = settings.provider_timeout()
        try:
            answer = ask(self._http, "GET", url, self._headers, seconds=seconds, limit=MAX_BODY)
        except NoResponse as error:
            failure = self._error(ProviderUnavailable, "the bucket could not be listed", str(error))
        except MalformedResponse as error:
            failure = self._error(UnexpectedResponse, str(error))
        else:
            if answer.status == 200:
                self._note(answer.headers.get("date"))
                return self._parsed(answer.body)
            failure = self._meaning(answer.status)
        raise failure

    def _headers(self) -> dict[str, str]:
        return {} if self._token is None else {"Authorization": f"Bearer {self._token()}"}

    def _note(self, date: str | None) -> None:
        from email.utils import parsedate_to_datetime

        if self.moment is None and date:
            try:
                self.moment = parsedate_to_datetime(date).astimezone(UTC)
            except (TypeError, ValueError):
                self.moment = None

    def _parsed(self, body: bytes) -> Mapping[str, Any]:
        try:
            found = read_json(body.decode("utf-8", "replace"))
        except MalformedResponse as error:
            raise self._error(UnexpectedResponse, f"an answer that cannot be read: {error}") from error
        if not isinstance(found, dict):
            raise self._error(UnexpectedResponse, "the answer is not an object")
        return found

    def _state(self, item: Any) -> ObjectState:
        try:
            return ObjectState(
                str(item["name"]),
                int(item["size"]),
                str(int(item["generation"])),
                item.get("etag"),
                datetime.fromisoformat(item["updated"]),
                _checksums(item),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._error(UnexpectedResponse, "the list has an entry that is none") from error

    def _meaning(self, status: int) -> Exception:
        if status == 404:
            return self._error(NotFound, f"there is no bucket {self.place.bucket}")
        if status == 401:
            return self._error(AuthenticationFailed, "the credentials are not accepted")
        if status == 403:
            return self._error(PermissionDenied, "the bucket may not be listed with these credentials")
        if status in (429, 503):
            return self._error(RateLimited, "the store asks for fewer requests", f"HTTP {status}")
        kind = ProviderUnavailable if status >= 500 else UnexpectedResponse
        return self._error(kind, "the bucket could not be listed", f"HTTP {status}")

    def _error(self, kind: Any, what: str, got: str | None = None) -> Exception:
        error: Exception = kind(what, provider="gs", operation="list", reference=self.place.uri, got=got)
        return error


def _checksums(item: Mapping[str, Any]) -> tuple[Checksum, ...]:
    found = []
    for algorithm, name in (("md5", "md5Hash"), ("crc32c", "crc32c")):
        if item.get(name):
            try:
                found.append(checked(Checksum(algorithm, base64.b64decode(item[name]).hex(), "full", "store")))
            except (ValueError, TypeError, binascii.Error):
                continue
    return ordered(found)


def _credentials() -> Any:
    """A function that gives a token; None for requests without one. Raises AuthenticationFailed."""
    try:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError:
        return None
    try:
        found, _ = google.auth.default(scopes=[SCOPE])
    except DefaultCredentialsError:
        return None  # a public bucket

    def token() -> str:
        try:
            if not found.valid:
                found.refresh(Request())  # type: ignore[no-untyped-call]
        except GoogleAuthError as error:
            raise AuthenticationFailed(
                "Google's credentials cannot be used", provider="gs", operation="connect", got=type(error).__name__
            ) from None
        return str(found.token)

    return token
