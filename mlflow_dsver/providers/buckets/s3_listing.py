"""Lists an S3 prefix as it was at one moment, with version ids, in parallel by sub-prefix.

The moment is the second of the store's own clock at the first answer: of each key, the newest version that is not
later counts, so objects that are written while the listing goes on do not get in. A bucket that keeps no versions has
no such moment: its objects are listed as they are, and what is written meanwhile may be among them. An ETag is kept
as it is and never taken for an MD5: that of a multipart or encrypted upload is none, and a listing does not tell
which.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import unquote_plus
from xml.etree.ElementTree import Element

from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import PermissionDenied, UnexpectedResponse, Unsupported
from mlflow_dsver.model.evidence import Checksum, checked, ordered
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.buckets.objects import Listing, ObjectState
from mlflow_dsver.providers.buckets.s3_requests import (
    AT_ONCE,
    S3Requests,
    has_dot_segments,
    parse_xml,
    requests_of,
)
from mlflow_dsver.providers.http.answers import Answer

PAGE = 1000
"""Keys an answer has at most."""
MAX_DEPTH = 6
"""Levels of folders that are descended to find sub-prefixes to list in parallel."""
NULL = "null"
"""The version id of an object that was written while the bucket kept no versions; a later write replaces it."""
CHECKSUM_HEADERS = ("sha256", "sha1", "crc64nvme", "crc32c", "crc32")


class _Version(NamedTuple):
    """An entry of a listing of versions, or of objects. deleted: it is a delete marker. latest: of its key."""

    key: str
    modified: datetime
    latest: bool
    deleted: bool
    version: str | None
    size: int
    etag: str | None


class _Page(NamedTuple):
    versions: list[_Version]
    folders: list[str]
    following: dict[str, str] | None
    date: datetime | None


def list_objects(place: Location, *, checksums: bool | None = None, progress: Progress = SILENT) -> Listing:
    """The objects below a prefix, sorted by key. checksums, progress: as for `listing.list_objects`."""
    client = requests_of(place)
    keeps = keeps_versions(client)
    pages = _Pages(client, place, versions=keeps is not False, progress=progress)
    try:
        chosen = sorted(pages.current(place.key("")), key=lambda state: state.key)
    except PermissionDenied as error:
        if keeps:
            raise PermissionDenied(
                "the versions of objects may not be listed with these credentials",
                provider="s3",
                operation="list",
                reference=place.uri,
                tip="the permission s3:ListBucketVersions",
            ) from error
        pages = _Pages(client, place, versions=False, progress=progress)
        chosen = sorted(pages.current(place.key("")), key=lambda state: state.key)
    if not chosen and place.prefix:
        chosen = pages.object(place.prefix)
    if checksums is True or (checksums is None and keeps is False):
        chosen = list(with_checksums(client, chosen))
    return Listing(chosen, pages.moment, keeps, "versions" if pages.versions else "objects")


def keeps_versions(client: S3Requests) -> bool | None:
    """Whether the bucket keeps every version written to it; None when that may not be asked."""
    try:
        root = parse_xml(client.get(query={"versioning": ""}, operation="ask for versioning").body, client.place)
    except (PermissionDenied, Unsupported):
        return None
    return _text(root, "Status") == "Enabled"


def with_checksums(client: S3Requests, states: Iterable[ObjectState]) -> Iterator[ObjectState]:
    """The objects with the checksums that the store keeps of them: one HEAD each, in parallel.

    Keys with the segments `.` and `..` cannot be asked for, and have none.
    """

    def asked(state: ObjectState) -> ObjectState:
        if has_dot_segments(state.key):
            return state
        return state._replace(checksums=read_checksums(client, state.key, state.version))

    pool = ThreadPoolExecutor(2 * AT_ONCE, "mlflow-dsver-checksums")
    try:
        yield from pool.map(asked, states)
    finally:
        pool.shutdown(cancel_futures=True)


def read_checksums(client: S3Requests, key: str, version: str | None) -> tuple[Checksum, ...]:
    """The checksums that the store keeps of an object version; () for none."""
    query = {} if version is None else {"versionId": version}
    answer = client.request(
        "HEAD", key, query, headers={"x-amz-checksum-mode": "ENABLED"}, operation="read the checksums"
    )
    return checksums_of(answer)


def checksums_of(answer: Answer) -> tuple[Checksum, ...]:
    """The checksums in the headers of an answer; values that are none are left out.

    So are those of a multipart upload when it is not said that they are of the whole object.
    """
    kind = answer.headers.get("x-amz-checksum-type", "").upper()
    multipart = "-" in answer.headers.get("etag", "")
    composite = kind == "COMPOSITE" or (multipart and kind != "FULL_OBJECT")
    found = []
    for algorithm in CHECKSUM_HEADERS:
        text, dash, parts = answer.headers.get(f"x-amz-checksum-{algorithm}", "").partition("-")
        if not text:
            continue
        try:
            value = base64.b64decode(text, validate=True).hex()
            extent = "composite" if dash or composite else "full"
            if extent == "composite" and not dash:
                continue  # of unknown parts: it could equal nothing
            found.append(checked(Checksum(algorithm, value + dash + parts, extent, "store")))  # type: ignore[arg-type]
        except (ValueError, binascii.Error):
            continue
    return ordered(found)


class _Pages:
    """Reads the pages of a listing. versions: all versions, else the objects that are there. moment: see above."""

    def __init__(self, client: S3Requests, place: Location, *, versions: bool, progress: Progress = SILENT) -> None:
        self.client, self.place, self.versions, self.progress = client, place, versions, progress
        self.moment: datetime | None = None

    def current(self, prefix: str) -> list[ObjectState]:
        """The objects whose keys begin with the prefix, at the moment of the first answer; in no order."""
        first = self._page({"prefix": prefix})
        if self.moment is None:
            self.moment = first.date
        if first.following is None:
            return self._chosen(first.versions)
        found: list[ObjectState] = []
        pool = ThreadPoolExecutor(AT_ONCE, "mlflow-dsver-list")
        try:
            waiting: set[Future[tuple[list[ObjectState], list[tuple[str, int]]]]] = {
                pool.submit(self._level, prefix, 0)
            }
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in done:
                    states, folders = each.result()
                    found += states
                    waiting |= {pool.submit(self._level, folder, depth) for folder, depth in folders}
        finally:
            pool.shutdown(cancel_futures=True)  # after an error the folders that wait are not listed
        return found

    def object(self, key: str) -> list[ObjectState]:
        """The object with that very key, at the moment; [] for none. It comes first of all that begin so."""
        return self._chosen(each for each in self._page({"prefix": key}).versions if each.key == key)

    def _level(self, prefix: str, depth: int) -> tuple[list[ObjectState], list[tuple[str, int]]]:
        """The objects of a folder, and its folders where it has several: they are listed by others in parallel."""
        if depth > MAX_DEPTH:
            return self._chosen(self._all({"prefix": prefix})), []
        query = {"prefix": prefix, "delimiter": "/"}
        page = self._page(query)
        versions, folders = page.versions, page.folders
        while page.following is not None:
            if not page.folders:  # many objects in one folder: their keys have to be listed one page after another
                return self._chosen(self._all({"prefix": prefix})), []
            page = self._page({**query, **page.following})
            versions += page.versions
            folders += page.folders
        deeper = depth + 1 if len(folders) < AT_ONCE else MAX_DEPTH + 1
        return self._chosen(versions), [(folder, deeper) for folder in folders]

    def _all(self, query: dict[str, str]) -> Iterator[_Version]:
        following: dict[str, str] | None = {}
        while following is not None:
            page = self._page({**query, **following})
            yield from page.versions
            following = page.following

    def _chosen(self, versions: Iterable[_Version]) -> list[ObjectState]:
        """Of each key the newest version that is not later than the moment, unless that is a delete marker."""
        chosen: dict[str, _Version] = {}
        for each in versions:
            if self.versions and self.moment is not None and each.modified > self.moment:
                continue
            other = chosen.get(each.key)
            if other is None or (each.latest, each.modified) > (other.latest, other.modified):
                chosen[each.key] = (
                    each  # a multipart upload has the date of its beginning, so the latest may be older
                )
        return [
            ObjectState(each.key, each.size, each.version, each.etag, each.modified)
            for each in chosen.values()
            if not each.deleted
        ]

    def _page(self, query: dict[str, str]) -> _Page:
        kind = {"versions": ""} if self.versions else {"list-type": "2"}
        whole = {**kind, **query, "max-keys": str(PAGE)}
        answer = self.client.get(query=whole)
        decode: Callable[[str], str] = str
        try:
            root = parse_xml(answer.body, self.place)
        except UnexpectedResponse:  # XML cannot have every character that a key can
            answer = self.client.get(query={**whole, "encoding-type": "url"})
            root, decode = parse_xml(answer.body, self.place), _unquoted
        try:
            versions = [_version(each, decode) for each in root if each.tag.rpartition("}")[2] in _ENTRIES]
            self.progress.advance(len(versions), 0)
            return _Page(
                versions,
                [decode(_text(each, "Prefix")) for each in root if each.tag.endswith("}CommonPrefixes")],
                self._following(root, query, decode),
                _date(answer.headers.get("date")),
            )
        except (ValueError, OverflowError) as error:
            raise UnexpectedResponse(
                "the store's list has an entry that is none",
                provider="s3",
                operation="list",
                reference=self.place.uri,
                got=str(error)[:100],
            ) from error

    def _following(self, root: Element, query: dict[str, str], decode: Callable[[str], str]) -> dict[str, str] | None:
        """The query of the next page; None for the last one."""
        if _text(root, "IsTruncated") != "true":
            return None
        if not self.versions:
            following = {"continuation-token": _text(root, "NextContinuationToken")}
        else:
            following = {"key-marker": decode(_text(root, "NextKeyMarker"))}
            if marker := _text(root, "NextVersionIdMarker"):
                following["version-id-marker"] = marker
        if not next(iter(following.values())) or following.items() <= query.items():
            raise ValueError("a page that has no next one although it says so")
        return following


_ENTRIES = ("Version", "DeleteMarker", "Contents")


def _version(element: Element, decode: Callable[[str], str]) -> _Version:
    fields = {each.tag.rpartition("}")[2]: each.text or "" for each in element}
    deleted = element.tag.endswith("DeleteMarker")
    version = fields.get("VersionId")
    return _Version(
        decode(fields["Key"]) if fields.get("Key") else _missing("Key"),
        _when(fields.get("LastModified", "")),
        fields.get("IsLatest") == "true",
        deleted,
        None if version in (None, "", NULL) else version,
        0 if deleted else int(fields.get("Size", "")),
        fields.get("ETag") or None,
    )


def _unquoted(text: str) -> str:
    return unquote_plus(text, errors="strict")  # replaced bytes would make one key of two


def _missing(name: str) -> str:
    raise ValueError(f"no {name}")


def _when(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text or "").astimezone(UTC)
    except (TypeError, ValueError):
        return None


def _text(element: Element, name: str) -> str:
    return next((each.text or "" for each in element if each.tag.rpartition("}")[2] == name), "")
