"""Compares the objects of a snapshot with what the store has now: one HEAD for each file, and no data.

An object version that the store still has under its id is the same for ever. Where the bucket keeps no versions, the
same ETag, size and date mean that nobody wrote the object since. An object that was written again is the same only
if a checksum that both have says so: by SHA-256 for certain, by MD5 or a CRC only against accident, and that is then
reported as not comparable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

from mlflow_dsver.content.checksums import Checksums, compared
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.errors import (
    AuthenticationFailed,
    CorruptObject,
    DsverError,
    NotFound,
    ProviderUnavailable,
    RateLimited,
)
from mlflow_dsver.model.differences import compare
from mlflow_dsver.model.evidence import ETAG, STRONG, VERSION_ID, Checksum, FileEvidence
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.providers.buckets.connect import Location, object_store, storage_errors
from mlflow_dsver.providers.buckets.fetch import read_checksums as bytes_checksums
from mlflow_dsver.providers.buckets.snapshots import date_text, key_of
from mlflow_dsver.providers.interface import FileCheck
from mlflow_dsver.text import one_line

AT_ONCE = 32
"""Requests at the same time."""
DATE = "ETag, size and date"


class Result(NamedTuple):
    """What was found of one file. same: None for could not be compared. missing: the store does not have it.

    by: what the comparison rests on. weak: only evidence against accident. why: for what is not the same. down: the
    store did not answer.
    """

    path: str
    same: bool | None
    by: str = ""
    weak: bool = False
    missing: bool = False
    why: str | None = None
    read: int = 0
    down: bool = False


ReadChecksums = Callable[[str, str | None], tuple[Checksum, ...]]
"""Asks the store for the checksums of an object, by key and version id."""


def check_files(
    location: Location,
    manifest: Manifest,
    entries: Sequence[FileEntry],
    progress: Progress,
    *,
    checksums: ReadChecksums | None,
    read: bool,
) -> FileCheck:
    """Compare the entries with their objects. checksums: None for a store that tells none.

    read: also read every object version to its end. Raises AuthenticationFailed, and ProviderUnavailable when the
    store answers nothing, or nothing any more.
    """
    store = object_store(location)
    task = partial(_check, store, location, manifest, checksums=checksums, read=read)
    progress.total(len(entries), sum(entry.bytes for entry in entries) if read else 0)
    results: list[Result] = []
    pool = ThreadPoolExecutor(AT_ONCE, "mlflow-dsver-check")
    try:
        for result in pool.map(task, entries):
            results.append(result)
            progress.advance(1, result.read)
            last = results[-AT_ONCE:]
            if all(each.down for each in last) and len(last) in (AT_ONCE, len(entries)):
                raise ProviderUnavailable(
                    "the store does not answer",
                    provider=location.provider,
                    operation="check the files",
                    reference=location.uri,
                    got=result.why,
                )
    finally:
        pool.shutdown(cancel_futures=True)
    return _summary(results, read)


def _check(
    store: Any,
    location: Location,
    manifest: Manifest,
    entry: FileEntry,
    *,
    checksums: ReadChecksums | None,
    read: bool,
) -> Result:
    key = key_of(location, manifest, entry.path)
    try:
        result = _described(store, location, key, entry, checksums)
        if not read or not result.same:
            return result
        return _bytes(location, key, entry, result, checksums)
    except NotFound as error:
        if manifest.made.get("keeps_versions") is not True and _exists(store, location, key):
            return Result(entry.path, False, why="it was overwritten, and the bucket keeps no versions")
        return Result(entry.path, None, missing=True, why=one_line(error.what, 200))
    except CorruptObject as error:
        return Result(entry.path, False, why=one_line(error.what, 200))
    except AuthenticationFailed:
        raise
    except (ProviderUnavailable, RateLimited) as error:
        return Result(entry.path, None, why=one_line(error.what, 200), down=True)
    except DsverError as error:
        return Result(entry.path, None, why=one_line(error.what, 200))


def _described(store: Any, location: Location, key: str, entry: FileEntry, checksums: ReadChecksums | None) -> Result:
    """Compare an entry with what HEAD says of its object version."""
    import obstore

    recorded = entry.evidence or FileEvidence()
    options: dict[str, Any] = {"head": True}
    if recorded.version is not None:
        options["version"] = recorded.version
    with storage_errors(location, "check the files", key, recorded.version):
        meta = obstore.get(store, key, options=options).meta  # type: ignore[arg-type]
    if meta["size"] != entry.bytes:
        return Result(entry.path, False, "size", why=f"{meta['size']:,} bytes instead of {entry.bytes:,}")
    if recorded.version is not None:
        if meta.get("version") == recorded.version:
            return Result(entry.path, True, VERSION_ID)
        return Result(entry.path, None, why="the store does not say that this is the version that was asked for")
    etag = (meta.get("e_tag") or "").strip('"') or None
    modified = date_text(meta["last_modified"])
    if etag is not None and (etag, modified) == (recorded.etag, recorded.modified):
        return Result(entry.path, True, DATE, weak=True)
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


def _rewritten(entry: FileEntry, now: FileEntry) -> Result:
    """Compare an object that was written again since the snapshot, where the bucket keeps no versions."""
    recorded, found = entry.evidence or FileEvidence(), compare(entry, now)
    written = f"written again at {now.evidence.modified if now.evidence else None}"
    if found.same and found.by in STRONG:
        return Result(entry.path, True, found.by)
    if found.same is False:
        return Result(entry.path, False, found.by, why=f"{written}; another {found.by}")
    if found.same or _same_etag(recorded, now):
        return Result(
            entry.path, None, why=f"{written}; only its {found.by or ETAG} is the same, no proof of content"
        )
    return Result(entry.path, False, ETAG, why=f"{written}; another ETag, and the bucket keeps no versions")


def _same_etag(recorded: FileEvidence, now: FileEntry) -> bool:
    return recorded.etag is not None and now.evidence is not None and now.evidence.etag == recorded.etag


def _bytes(
    location: Location, key: str, entry: FileEntry, described: Result, checksums: ReadChecksums | None
) -> Result:
    """Read an object version and compare the checksums of its bytes with the recorded ones, else the store's own.

    Those that the store has now count as well, since it has the version under its id. An ETag that is the MD5 of the
    bytes proves them against accident; one that is not may be of another kind.
    """
    if not Checksums.of(entry).known and checksums is not None:
        version = entry.evidence.version if entry.evidence else None
        evidence = (entry.evidence or FileEvidence())._replace(checksums=checksums(key, version))
        entry = file_entry(entry.path, entry.bytes, evidence)
    algorithms = [each.algorithm for each in (entry.evidence or FileEvidence()).checksums if each.extent == "full"]
    computed = bytes_checksums(location, key, entry, list(dict.fromkeys((*algorithms, "md5"))))
    found = compared(entry, computed)
    if found.same is None or found.by == ETAG:
        etag = entry.evidence.etag if entry.evidence else None
        if any((each.algorithm, each.value) == ("md5", etag) for each in computed):
            return Result(entry.path, True, "md5", weak=described.weak, read=entry.bytes)
        why = "its bytes were read, but there is no checksum to compare them with"
        return Result(entry.path, None, why=why, read=entry.bytes)
    if found.same is False:
        return Result(entry.path, False, found.by, why=f"its bytes have another {found.by}", read=entry.bytes)
    weak = not found.strong and described.weak
    return Result(entry.path, True, found.by, weak=weak, read=entry.bytes)


def _summary(results: Iterable[Result], read: bool) -> FileCheck:
    results = list(results)
    by = Counter(each.by for each in results if each.same)
    failed = [each for each in results if not each.same]
    first = next((each for each in failed if each.why), None)
    return FileCheck(
        files=len(results),
        missing=tuple(sorted(each.path for each in failed if each.missing)),
        changed=tuple(sorted(each.path for each in failed if each.same is False)),
        unknown=tuple(sorted(each.path for each in failed if each.same is None and not each.missing)),
        reason=f"{one_line(first.path, 80)}: {first.why}" if first else None,
        read=sum(each.read for each in results) if read else None,
        by=" and ".join(name for name, _ in by.most_common()),
        weakly=sum(each.weak for each in results if each.same),
    )
