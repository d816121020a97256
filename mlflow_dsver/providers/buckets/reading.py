"""Reads exactly the recorded object versions.

Every request names the version id; where the bucket keeps no versions it names the ETag, so that an object which was
overwritten is an error and never served.
"""

from __future__ import annotations

from typing import Any

from mlflow_dsver.errors import CorruptObject
from mlflow_dsver.model.evidence import FileEvidence
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.providers.buckets.connect import Location, is_cut_off, object_store, storage_errors
from mlflow_dsver.providers.buckets.snapshots import key_of
from mlflow_dsver.providers.file_fetching import ReadFile
from mlflow_dsver.text import one_line


def reader_of(place: Location, manifest: Manifest) -> ReadFile:
    """A function that reads a file of a snapshot from one byte to another."""

    def read(entry: FileEntry, start: int, stop: int) -> Any:
        key = key_of(place, manifest, entry.path)
        if place.provider == "s3" and is_cut_off():
            return _get_signed(place, key, entry, start, stop)
        return _get(place, key, entry, start, stop)

    return read


def _get(place: Location, key: str, entry: FileEntry, start: int, stop: int) -> Any:
    import obstore

    options: dict[str, Any] = {} if stop - start == entry.bytes else {"range": (start, stop)}
    evidence = entry.evidence or FileEvidence()
    if evidence.version is not None:
        options["version"] = evidence.version
    elif evidence.etag is not None:
        options["if_match"] = f'"{evidence.etag}"'
    store = object_store(place)
    with storage_errors(place, "fetch", key, evidence.version):
        found = obstore.get(store, key, options=options)  # type: ignore[arg-type]
        if found.meta["size"] != entry.bytes:
            raise _other(place, key, f"{entry.bytes:,} bytes", f"{found.meta['size']:,} bytes")
        if evidence.version is not None and found.meta.get("version") not in (None, evidence.version):
            raise _other(place, key, f"version {evidence.version}", f"version {found.meta.get('version')}")
        return found.bytes()


def _get_signed(place: Location, key: str, entry: FileEntry, start: int, stop: int) -> bytes:
    """As `_get`, where obstore cannot be used: in worker processes that were forked after it was."""
    from mlflow_dsver.providers.buckets.s3_requests import requests_of

    evidence = entry.evidence or FileEvidence()
    query = {} if evidence.version is None else {"versionId": evidence.version}
    headers = {"Range": f"bytes={start}-{stop - 1}"} if stop > start else {}
    if evidence.version is None and evidence.etag is not None:
        headers["If-Match"] = f'"{evidence.etag}"'
    answer = requests_of(place).get(key, query, headers=headers, operation="fetch")
    if answer.status == 412:
        raise _other(place, key, f"ETag {evidence.etag}", "another")
    return answer.body


def _other(place: Location, key: str, expected: str, got: str) -> CorruptObject:
    return CorruptObject(
        f"the object {one_line(key, 200)} is not what was recorded",
        reference=place.uri,
        expected=expected,
        got=got,
        done="Nothing was served",
    )
