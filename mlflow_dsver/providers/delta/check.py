"""Compares a version's files with what is there now, and proves that table and version are still the recorded ones.

The table is proven by its id, by a digest of its schema and properties, and by the digest of the version's log entry
while that is there. A file is missing, or of another size, or written after the log says that it was; what is left is
the same by size and date. Those prove nothing about its bytes, which a Delta log has no checksums of.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import cache

from mlflow_dsver.errors import CorruptObject, NotFound
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.delta import snapshot
from mlflow_dsver.providers.delta.places import Place
from mlflow_dsver.providers.delta.snapshot import DELETED_ROWS, Snapshot
from mlflow_dsver.providers.file_checks import AT_ONCE, CheckFile, FileResult
from mlflow_dsver.providers.file_fetching import ReadFile, another

BY = "size and date"
LOOKED_AT = 1_000
"""Files of a version in object storage that are looked at when it is resolved or loaded; more take too long."""
ON_A_DISK, AT_A_STORE = timedelta(seconds=10), timedelta(minutes=15)
"""How much later than the log says a file may have been written: clocks differ, between machines more so."""


def prove(place: Place, version: DatasetVersion, manifest: Manifest) -> Snapshot:
    """Load the version, and raise NotFound or CorruptObject when it is not the one of which the manifest was made."""
    found = snapshot.load_exactly(place, version.id)

    def compare(key: str, now: str | None, what: str) -> None:
        for recorded in (manifest.made.get(key), version.raw.get(key)):
            if now is not None and isinstance(recorded, str) and recorded != now:
                raise CorruptObject(what, reference=version.ref, expected=recorded, got=now)

    compare("table", found.table_id, "the table is another one, whose id only begins alike")
    compare("schema", found.schema_digest, "the table's schema or properties at this version were edited in its log")
    compare("commit", found.commit.digest if found.commit else None, "the log entry of this version was edited")
    return found


def checker_of(place: Place, version: DatasetVersion, manifest: Manifest) -> CheckFile:
    """A function that compares an entry with its file now. Raises what `prove` raises."""
    found = prove(place, version, manifest)
    vectors = cache(found.deleted_rows)
    latest = ON_A_DISK if place.folder is not None else AT_A_STORE

    def check(entry: FileEntry) -> FileResult:
        if is_vector(entry):
            text = vectors().get(entry.path)
            if text is None:
                return FileResult(entry.path, None, missing=True, why="its deletion vector is gone")
            same = snapshot.blake3_of(text) == entry.digest
            return FileResult(entry.path, same, "blake3", why=None if same else "other rows are deleted")
        state = place.state(entry.path)
        if state.size != entry.bytes:
            return FileResult(entry.path, False, "size", why=f"{state.size:,} bytes instead of {entry.bytes:,}")
        committed = entry.evidence.modified if entry.evidence else None
        if committed is None or state.modified > datetime.fromisoformat(committed) + latest:
            written = state.modified.isoformat(timespec="seconds").replace("+00:00", "Z")
            why = f"written at {written}, after the table was; only its size is the same, no proof of content"
            return FileResult(entry.path, None, why=why)
        return FileResult(entry.path, True, BY, weak=True)

    return check


def reader_of(place: Place, version: DatasetVersion, manifest: Manifest) -> ReadFile:
    """A function that reads a file from one byte to another, if it still has its recorded size."""

    @cache
    def vectors() -> dict[str, bytes]:
        return snapshot.load_exactly(place, version.id).deleted_rows()

    def read(entry: FileEntry, start: int, stop: int) -> bytes:
        if is_vector(entry):
            text = vectors().get(entry.path)
            if text is None:
                raise NotFound("its deletion vector is gone", provider="delta", operation="fetch", reference=version)
            return text[start:stop]
        size = place.state(entry.path).size
        if size != entry.bytes:
            raise another(entry, version.ref, f"{entry.bytes:,} bytes", f"{size:,} bytes")
        return bytes(place.read(entry.path, start, stop))

    return read


def look(place: Place, manifest: Manifest) -> tuple[list[str], list[str]] | None:
    """The files that are gone, and those of another size; None for too many to ask a store for each of them.

    Raises the errors of the file system or store.
    """
    entries = [entry for entry in manifest.entries if not is_vector(entry)]
    if place.folder is None and len(entries) > LOOKED_AT:
        return None

    def size(entry: FileEntry) -> int | None:
        try:
            return place.state(entry.path).size
        except NotFound:
            return None

    if place.folder is not None:
        sizes = list(map(size, entries))
    else:
        with ThreadPoolExecutor(AT_ONCE, "mlflow-dsver-check") as pool:
            sizes = list(pool.map(size, entries))
    pairs = list(zip(entries, sizes, strict=True))
    return (
        [entry.path for entry, found in pairs if found is None],
        [entry.path for entry, found in pairs if found not in (None, entry.bytes)],
    )


def is_vector(entry: FileEntry) -> bool:
    """Whether an entry stands for a deletion vector."""
    return entry.evidence is None and entry.path.endswith(DELETED_ROWS)
