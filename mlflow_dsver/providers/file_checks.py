"""Compares the files of a version with what their store says of them now, many at once; see `FileProvider.checker`.

A file that is gone is missing, one that is another is changed, and one that the store says too little of is unknown:
never the same. A store that answers nothing, or nothing any more, is an error and no finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

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
from mlflow_dsver.model.evidence import ETAG, Checksum, FileEvidence
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.file_fetching import ReadFile, read_checksums
from mlflow_dsver.providers.values import FileCheck
from mlflow_dsver.text import one_line

AT_ONCE = 32
"""Files that are asked for at the same time."""


class FileResult(NamedTuple):
    """What was found of one file. same: None for could not be compared. missing: the store does not have it.

    by: what the comparison rests on. weak: only evidence against accident. why: for what is not the same. read: bytes
    that were read. down: the store did not answer.
    """

    path: str
    same: bool | None
    by: str = ""
    weak: bool = False
    missing: bool = False
    why: str | None = None
    read: int = 0
    down: bool = False


CheckFile = Callable[[FileEntry], FileResult]
"""What the store says of one file now, without its bytes; called from several threads.

NotFound means missing and CorruptObject changed; another error of this file makes it unknown.
"""
StoreChecksums = Callable[[FileEntry], tuple[Checksum, ...]]
"""The checksums that the store has of a file now, for one whose entry has none."""


class Bytes(NamedTuple):
    """How the bytes of files are compared as well. checksums: None for a store that tells none."""

    read: ReadFile
    checksums: StoreChecksums | None = None


def check_files(
    entries: Sequence[FileEntry],
    check: CheckFile,
    progress: Progress,
    reference: DatasetRef,
    content: Bytes | None = None,
) -> FileCheck:
    """Compare entries of a manifest. content: also read every file to its end; None: ask the store only.

    Raises AuthenticationFailed, and ProviderUnavailable when the store answers nothing, or nothing any more.
    """
    progress.total(len(entries), sum(entry.bytes for entry in entries) if content else 0)
    results: list[FileResult] = []
    pool = ThreadPoolExecutor(AT_ONCE, "mlflow-dsver-check")
    try:
        for result in pool.map(partial(_check, check, content, reference), entries):
            results.append(result)
            progress.advance(1, result.read)
            last = results[-AT_ONCE:]
            if all(each.down for each in last) and len(last) in (AT_ONCE, len(entries)):
                raise ProviderUnavailable(
                    "the store does not answer",
                    provider=reference.provider,
                    operation="check the files",
                    reference=reference,
                    got=result.why,
                )
    finally:
        pool.shutdown(cancel_futures=True)
    return _summary(results, read=content is not None)


def _check(check: CheckFile, content: Bytes | None, reference: DatasetRef, entry: FileEntry) -> FileResult:
    try:
        result = check(entry)
        return result if content is None or not result.same else _compare_bytes(content, entry, result, reference)
    except NotFound as error:
        return FileResult(entry.path, None, missing=True, why=one_line(error.what, 200))
    except CorruptObject as error:
        return FileResult(entry.path, False, why=one_line(error.what, 200))
    except AuthenticationFailed:
        raise
    except (ProviderUnavailable, RateLimited) as error:
        return FileResult(entry.path, None, why=one_line(error.what, 200), down=True)
    except DsverError as error:
        return FileResult(entry.path, None, why=one_line(error.what, 200))


def _compare_bytes(content: Bytes, entry: FileEntry, described: FileResult, reference: DatasetRef) -> FileResult:
    """Read a file and compare the checksums of its bytes with the recorded ones, else the store's own.

    Those that the store has now count as well, since it has the file in its recorded state. An ETag that is the MD5
    of the bytes proves them against accident; one that is not may be of another kind.
    """
    if not Checksums.of(entry).known and content.checksums is not None:
        evidence = (entry.evidence or FileEvidence())._replace(checksums=content.checksums(entry))
        entry = file_entry(entry.path, entry.bytes, evidence)
    wanted = Checksums.of(entry).names
    computed = read_checksums(content.read, entry, list(dict.fromkeys((*wanted, "md5"))), reference)
    found = compared(entry, computed)
    if found.same is None or found.by == ETAG:
        etag = entry.evidence.etag if entry.evidence else None
        if any((each.algorithm, each.value) == ("md5", etag) for each in computed):
            return FileResult(entry.path, True, "md5", weak=described.weak, read=entry.bytes)
        why = "its bytes were read, but there is no checksum to compare them with"
        return FileResult(entry.path, None, why=why, read=entry.bytes)
    if found.same is False:
        return FileResult(entry.path, False, found.by, why=f"its bytes have another {found.by}", read=entry.bytes)
    weak = not found.strong and described.weak
    return FileResult(entry.path, True, found.by, weak=weak, read=entry.bytes)


def _summary(results: Iterable[FileResult], *, read: bool) -> FileCheck:
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
