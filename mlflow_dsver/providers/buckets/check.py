"""Compares the objects of a snapshot with what the store has now: one HEAD for each file, and no data.

An object version that the store still has under its id is the same for ever. Where the bucket keeps no versions, the
same ETag, size and date mean that nobody wrote the object since. An object that was written again is the same only
if a checksum that both have says so: by SHA-256 for certain, by MD5 or a CRC only against accident, and that is then
reported as not comparable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow_dsver.errors import DsverError, NotFound
from mlflow_dsver.model.differences import compare
from mlflow_dsver.model.evidence import ETAG, STRONG, VERSION_ID, Checksum, FileEvidence
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.providers.buckets.connect import Location, object_store, storage_errors
from mlflow_dsver.providers.buckets.snapshots import date_text, key_of
from mlflow_dsver.providers.file_checks import CheckFile, FileResult

DATE = "ETag, size and date"

ReadChecksums = Callable[[str, str | None], tuple[Checksum, ...]]
"""Asks the store for the checksums of an object, by key and version id."""


def checker_of(location: Location, manifest: Manifest, checksums: ReadChecksums | None) -> CheckFile:
    """A function that compares an entry with what HEAD says of its object. checksums: None for a store without."""
    store = object_store(location)

    def check(entry: FileEntry) -> FileResult:
        key = key_of(location, manifest, entry.path)
        try:
            return _described(store, location, key, entry, checksums)
        except NotFound:
            if manifest.made.get("keeps_versions") is True or not _exists(store, location, key):
                raise
            return FileResult(entry.path, False, why="it was overwritten, and the bucket keeps no versions")

    return check


def _described(
    store: Any, location: Location, key: str, entry: FileEntry, checksums: ReadChecksums | None
) -> FileResult:
    import obstore

    recorded = entry.evidence or FileEvidence()
    options: dict[str, Any] = {"head": True}
    if recorded.version is not None:
        options["version"] = recorded.version
    with storage_errors(location, "check the files", key, recorded.version):
        meta = obstore.get(store, key, options=options).meta  # type: ignore[arg-type]
    if meta["size"] != entry.bytes:
        return FileResult(entry.path, False, "size", why=f"{meta['size']:,} bytes instead of {entry.bytes:,}")
    if recorded.version is not None:
        if meta.get("version") == recorded.version:
            return FileResult(entry.path, True, VERSION_ID)
        why = "the store does not say that this is the version that was asked for"
        return FileResult(entry.path, None, why=why)
    etag = (meta.get("e_tag") or "").strip('"') or None
    modified = date_text(meta["last_modified"])
    if etag is not None and (etag, modified) == (recorded.etag, recorded.modified):
        return FileResult(entry.path, True, DATE, weak=True)
    now = FileEvidence(checksums(key, None) if checksums and recorded.checksums else (), etag=etag, modified=modified)
    return _rewritten(entry, file_entry(entry.path, entry.bytes, now))


def _exists(store: Any, location: Location, key: str) -> bool:
    """Whether there is an object of that key now, whatever it is."""
    import obstore

    try:
        with storage_errors(location, "check the files", key):
            obstore.head(store, key)
    except DsverError:
        return False
    return True


def _rewritten(entry: FileEntry, now: FileEntry) -> FileResult:
    """Compare an object that was written again since the snapshot, where the bucket keeps no versions."""
    recorded, found = entry.evidence or FileEvidence(), compare(entry, now)
    written = f"written again at {now.evidence.modified if now.evidence else None}"
    if found.same and found.by in STRONG:
        return FileResult(entry.path, True, found.by)
    if found.same is False:
        return FileResult(entry.path, False, found.by, why=f"{written}; another {found.by}")
    if found.same or _same_etag(recorded, now):
        return FileResult(
            entry.path, None, why=f"{written}; only its {found.by or ETAG} is the same, no proof of content"
        )
    return FileResult(entry.path, False, ETAG, why=f"{written}; another ETag, and the bucket keeps no versions")


def _same_etag(recorded: FileEvidence, now: FileEntry) -> bool:
    return recorded.etag is not None and now.evidence is not None and now.evidence.etag == recorded.etag
