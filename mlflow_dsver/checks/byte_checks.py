"""Reads the files of a version at the requested depth and compares them with the recorded content digest.

Local files are read in copy. By default a file whose stat did not change is not read again: the stat cache, or the
stat that a store saved when it hashed the object, is used instead; silent disk corruption is therefore found by
`full` only. `full` reads every file now and `sample` the drawn ones, without any cache; both download files that are
not on this machine to a temporary folder. Nothing else is written. Failures are returned as evidence.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import IO

from mlflow_dsver.checks.manifest_stream import ManifestStream, parse_line
from mlflow_dsver.checks.provider_cache import meaning, reason
from mlflow_dsver.checks.reports import NOT_REQUESTED, ByteEvidence, Depth, Proof, ReadStatus, Verdict
from mlflow_dsver.checks.sampling import Sampling
from mlflow_dsver.checks.store_checks import check_at_store
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.parallel_reading import LARGE, Reader, read_parallel
from mlflow_dsver.content.patterns import IGNORE_FILE, Rules
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.errors import ContentError, DsverError
from mlflow_dsver.model.differences import Difference, difference
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Capability, LocalCopy, Provider
from mlflow_dsver.text import human_count, one_line, os_text

Unchanged = Callable[[str, os.stat_result], bool]
"""As `LocalCopy.unchanged`."""

_TAIL = len(b',"digest":""}') + 64
"""Bytes of a manifest line after the size."""

_STATUS_OF_ERROR = {
    Verdict.MISSING: ReadStatus.GONE,
    Verdict.CHANGED: ReadStatus.DAMAGED,
    Verdict.UNREACHABLE: ReadStatus.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How deep to read. sampling: which files are drawn at depth `sample`; unused at other depths."""

    depth: Depth = Depth.DEFAULT
    sampling: Sampling | None = None


def read_bytes(
    provider: Provider,
    version: DatasetVersion,
    options: ReadOptions,
    *,
    manifest: bytes | None = None,
    fetch: bool = True,
    progress: Progress = SILENT,
) -> ByteEvidence:
    """Read the files of a version and compare them with its recorded content digest.

    version: as recorded. manifest: the recorded manifest's file, whose digest is the recorded one; None when there
    is none. fetch: False if the provider is known not to respond. Findings and failures are returned, not raised.
    """
    try:
        at_store = check_at_store(provider, version, options.depth, options.sampling, manifest) if fetch else None
        if at_store is not None:
            return at_store
        if options.depth is Depth.METADATA:
            return NOT_REQUESTED
        copy = provider.local_copy(version)
        if copy is not None and copy.hashed is None:
            return _read_local(copy, version, options, manifest, progress)
        if options.depth is Depth.DEFAULT or not fetch:
            return ByteEvidence(ReadStatus.NOT_LOCAL, reason="the provider does not keep the files on this machine")
        return _fetched(provider, version, manifest, progress)
    except DsverError as error:
        return _failure(error)
    except OSError as error:
        return ByteEvidence(ReadStatus.FAILED, reason=reason(error))


def _failure(error: DsverError) -> ByteEvidence:
    if isinstance(error, ContentError):
        return ByteEvidence(ReadStatus.FAILED, reason=reason(error), paths=error.paths)
    return ByteEvidence(_STATUS_OF_ERROR.get(meaning(error), ReadStatus.FAILED), reason=reason(error))


def _fetched(provider: Provider, version: DatasetVersion, manifest: bytes | None, progress: Progress) -> ByteEvidence:
    if Capability.BYTES not in provider.capabilities:
        return ByteEvidence(ReadStatus.NOT_LOCAL, reason=f"{provider.name} cannot download files")
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-verify-") as scratch:
        folder = Path(scratch) / "files"
        provider.materialise(version, folder)
        return read_folder(folder, version, Depth.FULL, manifest, progress)


def _read_local(
    copy: LocalCopy, version: DatasetVersion, options: ReadOptions, manifest: bytes | None, progress: Progress
) -> ByteEvidence:
    if not copy.folder.is_dir():
        return ByteEvidence(ReadStatus.GONE, reason=f"no folder {one_line(copy.folder)}")
    if next(copy.folder.iterdir(), None) is None:
        return ByteEvidence(ReadStatus.GONE, reason=f"the folder {one_line(copy.folder)} is empty")
    if options.depth is not Depth.SAMPLE and not copy.by_digest:
        return read_folder(copy.folder, version, options.depth, manifest, progress, rules=copy.rules)
    if copy.manifest is not None:
        with copy.manifest.open("rb") as stream:
            lines = _lines(stream, version)
        if lines is None:
            return ByteEvidence(ReadStatus.DAMAGED, reason=f"the manifest {copy.manifest} is damaged")
    else:
        lines = _lines(BytesIO(manifest), version) if manifest is not None else None
    if lines is None:
        return ByteEvidence(ReadStatus.NOT_LOCAL, reason="there is no manifest to read them by")
    if options.depth is Depth.SAMPLE:
        sampling = options.sampling or Sampling()
        evidence = _by_line(copy, sampling.draw(lines), None, progress)
        if evidence.status is not ReadStatus.READ:
            return evidence
        statement = f"{sampling.statement(len(lines))}; added files are not detected"
        return replace(evidence, proof=Proof.SAMPLED, digest=None, statement=statement)
    evidence = _by_line(copy, lines, copy.unchanged if options.depth is Depth.DEFAULT else None, progress)
    if evidence.status is not ReadStatus.READ:
        return evidence
    return replace(evidence, digest=version.content_digest)


def _lines(stream: IO[bytes], version: DatasetVersion) -> list[bytes] | None:
    """The unparsed lines of a manifest; None if it is damaged or does not have the version's content digest."""
    try:
        lines = ManifestStream(stream)
        if version.content_digest not in (None, lines.content_digest):
            return None
        return list(lines)
    except InvalidManifest:
        return None


def read_folder(
    folder: Path,
    version: DatasetVersion,
    depth: Depth,
    manifest: bytes | None,
    progress: Progress = SILENT,
    *,
    rules: Rules | None = None,
) -> ByteEvidence:
    """Hash all files of a folder and compare them with the record of a version. Raises ContentError.

    depth: `default` uses the stat cache, any other depth hashes every file now. manifest: as for `read_bytes`.
    rules: the ignore patterns with which the version was made, from a trusted source; None if unknown.

    The content digest does not cover the manifest's header, so anybody who can write to the run can change the
    patterns in it, and patterns can hide files. If `rules` is None and the header's patterns exclude files, the
    evidence therefore has no proof. If the header differs from `rules`, the files must match under both.
    """
    recorded = _recorded(manifest, version)
    claimed = recorded.rules if recorded else None
    left_out: list[str] = []
    first, second = (claimed or Rules(), None) if rules is None else (rules, claimed)
    cache = default_cache(read_only=True) if depth is Depth.DEFAULT else None
    found = hash_folder(folder, rules=first, cache=cache, progress=progress, on_excluded=left_out.append)
    if second not in (None, first) and found.digest == version.content_digest:
        assert second is not None
        found = hash_folder(folder, rules=second, cache=cache, progress=progress)
    same = found.digest == version.content_digest
    changes: Difference | None = Difference(unchanged=len(found)) if same else None
    if not same and recorded is not None:
        changes = difference(Manifest(tuple(recorded.entries())), found)
    evidence = ByteEvidence(
        ReadStatus.READ,
        proof=Proof.HASHED if cache is None else Proof.CACHED,
        digest=found.digest,
        files=len(found),
        bytes=found.total_bytes,
        difference=changes,
    )
    hidden = sorted(path for path in left_out if path != IGNORE_FILE)
    if not same or rules is not None or not hidden:
        return evidence
    return replace(evidence, proof=Proof.NONE, reason=_hidden(hidden))


def _hidden(paths: list[str], limit: int = 5) -> str:
    named = ", ".join(one_line(path, 80) for path in paths[:limit])
    more = f" and {len(paths) - limit:,} more" if len(paths) > limit else ""
    return f"ignore patterns that the record does not prove exclude {named}{more}; all other files match"


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The recorded manifest; only the header is parsed until `entries` is called."""

    content: bytes
    rules: Rules | None

    def entries(self) -> list[FileEntry]:
        return [parse_line(line) for line in ManifestStream(BytesIO(self.content))]


def _recorded(manifest: bytes | None, version: DatasetVersion) -> _Recorded | None:
    if manifest is None:
        return None
    try:
        lines = ManifestStream(BytesIO(manifest))
    except InvalidManifest:
        return None
    if lines.content_digest != version.content_digest:
        return None
    return _Recorded(manifest, Rules.from_made(lines.header.get("made")))


def _by_line(
    copy: LocalCopy, lines: Sequence[bytes], unchanged: Unchanged | None, progress: Progress
) -> ByteEvidence:
    """Check each listed file by itself. unchanged: whether a file need not be read; None reads every file.

    For a million files, parsed entries would need too much memory and time; lines therefore stay unparsed, and lists
    hold only strings and numbers.
    """
    addresses = [_address(copy, line) for line in lines]
    # The size is the text between the last colon before the digest and the digest; parsing the JSON is far slower.
    sizes = [int(line[line.rindex(b":", 0, -_TAIL) + 1 : -_TAIL]) for line in lines]
    known = dict(zip(addresses, range(len(lines)), strict=True))
    missing, damaged, pending = set(), set(), []
    # Paths relative to an open folder spare the kernel the lookup of the whole path for each file.
    root = os.open(copy.folder, os.O_RDONLY)
    try:
        for address, number in known.items():
            try:
                status = os.stat(os_text(address), dir_fd=root, follow_symlinks=not copy.by_digest)
            except (FileNotFoundError, NotADirectoryError):
                missing.add(address)
                continue
            except OSError as error:
                return ByteEvidence(ReadStatus.FAILED, reason=reason(error), paths=(parse_line(lines[number]).path,))
            if status.st_size != sizes[number] or (copy.by_digest and not stat.S_ISREG(status.st_mode)):
                damaged.add(address)
            elif unchanged is None or not unchanged(address, status):
                pending.append((number, address, sizes[number]))
    finally:
        os.close(root)
    progress.total(len(pending), sum(size for _, _, size in pending))
    reader = Reader(copy.folder, None, progress, large_files=sum(size >= LARGE for _, _, size in pending))
    for batch in read_parallel(reader, pending):
        damaged |= {read.path for number, read, _ in batch if read.digest != _digest(lines[number])}
    if reader.problems:
        return _failure(_walk_error(reader, copy.folder))
    if missing or damaged:
        return _damaged(lines, addresses, missing, damaged)
    proof = Proof.HASHED if len(pending) == len(known) else Proof.CACHED
    same = Difference(unchanged=len(lines))
    return ByteEvidence(ReadStatus.READ, proof=proof, files=len(lines), bytes=sum(sizes), difference=same)


def _address(copy: LocalCopy, line: bytes) -> str:
    if not copy.by_digest:
        return parse_line(line).path
    digest = _digest(line)
    return f"{digest[:2]}/{digest}"


def _digest(line: bytes) -> str:
    return line[-66:-2].decode("ascii")


def _walk_error(reader: Reader, folder: Path) -> ContentError:
    try:
        reader.problems.raise_any(folder)
    except ContentError as error:
        return error
    raise AssertionError("called without a read error")


def _damaged(lines: Sequence[bytes], addresses: Sequence[str], missing: set[str], damaged: set[str]) -> ByteEvidence:
    listed = list(zip(lines, addresses, strict=True))
    gone = [parse_line(line).path for line, address in listed if address in missing]
    other = [parse_line(line).path for line, address in listed if address in damaged]
    counts = [f"{human_count(len(gone), 'file')} missing"] if gone else []
    counts += [f"{human_count(len(other), 'file')} modified"] if other else []
    text = f"{' and '.join(counts)}, of {len(lines):,} checked"
    return ByteEvidence(
        ReadStatus.GONE if gone else ReadStatus.DAMAGED, reason=text, paths=tuple(sorted(gone + other))
    )
