"""Reads the bytes of a version, as far as they can be had and as deep as was asked, and says what it saw.

Where bytes are at hand they are read in place, damaged or not. By default an untouched file is not read again: the
stat cache, or the stat that a store remembers of each object from when it hashed it, stands in for it (a disk that
rots in silence is therefore found by `full` alone). `full` and `sample` read now and believe no cache; what is
not at hand they fetch into a temporary folder first. Nothing else is written, and a failure is a value.
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

from mlflow_dsver.checks.evidence import NOT_ASKED, ByteEvidence, Depth, Proof, ReadStatus, Verdict
from mlflow_dsver.checks.manifest_stream import ManifestStream, parse_line
from mlflow_dsver.checks.provider_cache import meaning, reason
from mlflow_dsver.checks.sampling import Sampling
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.parallel_reading import LARGE, Reader, read_parallel
from mlflow_dsver.content.patterns import IGNORE_FILE, Rules
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.errors import ContentError, DsverError
from mlflow_dsver.model.manifests import Difference, FileEntry, InvalidManifest, Manifest, difference
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.os_names import os_text
from mlflow_dsver.providers.interface import Capability, LocalCopy, Provider
from mlflow_dsver.text import human_count, one_line

Unchanged = Callable[[str, os.stat_result], bool]
"""As of `Place.unchanged`."""

_TAIL = len(b',"digest":""}') + 64
"""Bytes of a manifest's line behind the size."""

_DAMAGE_AHEAD = {
    Verdict.MISSING: ReadStatus.GONE,
    Verdict.CHANGED: ReadStatus.DAMAGED,
    Verdict.UNREACHABLE: ReadStatus.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How deep to read. sampling: what is drawn at depth `sample`; elsewhere unused."""

    depth: Depth = Depth.DEFAULT
    sampling: Sampling | None = None


def read_bytes(
    provider: Provider,
    version: DatasetVersion,
    effort: ReadOptions,
    *,
    manifest: bytes | None = None,
    fetch: bool = True,
    progress: Progress = SILENT,
) -> ByteEvidence:
    """What the bytes of a version are now, compared with its recorded content digest.

    version: as recorded. manifest: the recorded manifest's file, whose digest is the recorded one; None when there
    is none. fetch: False when the provider is known not to answer. Raises nothing for what it finds.
    """
    if effort.depth is Depth.METADATA:
        return NOT_ASKED
    try:
        place = provider.at_hand(version)
        if place is not None:
            return _at_hand(place, version, effort, manifest, progress)
        if effort.depth is Depth.DEFAULT or not fetch:
            return ByteEvidence(ReadStatus.NOT_AT_HAND, reason="the provider does not keep them on this machine")
        return _fetched(provider, version, manifest, progress)
    except DsverError as error:
        return _failure(error)
    except OSError as error:
        return ByteEvidence(ReadStatus.FAILED, reason=reason(error))


def _failure(error: DsverError) -> ByteEvidence:
    if isinstance(error, ContentError):
        return ByteEvidence(ReadStatus.FAILED, reason=reason(error), paths=error.paths)
    return ByteEvidence(_DAMAGE_AHEAD.get(meaning(error), ReadStatus.FAILED), reason=reason(error))


def _fetched(provider: Provider, version: DatasetVersion, manifest: bytes | None, progress: Progress) -> ByteEvidence:
    if Capability.BYTES not in provider.capabilities:
        return ByteEvidence(ReadStatus.NOT_AT_HAND, reason=f"{provider.name} does not give out files")
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-verify-") as scratch:
        folder = Path(scratch) / "files"
        provider.materialise(version, folder)
        return read_folder(folder, version, Depth.FULL, manifest, progress)


def _at_hand(
    place: LocalCopy, version: DatasetVersion, effort: ReadOptions, manifest: bytes | None, progress: Progress
) -> ByteEvidence:
    if not place.folder.is_dir():
        return ByteEvidence(ReadStatus.GONE, reason=f"no folder {one_line(place.folder)}")
    if next(place.folder.iterdir(), None) is None:
        return ByteEvidence(ReadStatus.GONE, reason=f"the folder {one_line(place.folder)} is empty")
    if effort.depth is not Depth.SAMPLE and not place.by_digest:
        return read_folder(place.folder, version, effort.depth, manifest, progress, rules=place.rules)
    if place.manifest is not None:
        with place.manifest.open("rb") as stream:
            lines = _lines(stream, version)
        if lines is None:
            return ByteEvidence(ReadStatus.DAMAGED, reason=f"the manifest {place.manifest} is damaged")
    else:
        lines = _lines(BytesIO(manifest), version) if manifest is not None else None
    if lines is None:
        return ByteEvidence(ReadStatus.NOT_AT_HAND, reason="no manifest says which files there are")
    if effort.depth is Depth.SAMPLE:
        sampling = effort.sampling or Sampling()
        seen = _by_line(place, sampling.draw(lines), None, progress)
        if seen.seen is not ReadStatus.READ:
            return seen
        statement = f"{sampling.statement(len(lines))}; files that were added are not looked for"
        return replace(seen, proof=Proof.SAMPLED, digest=None, statement=statement)
    seen = _by_line(place, lines, place.unchanged if effort.depth is Depth.DEFAULT else None, progress)
    return replace(seen, digest=version.content_digest) if seen.seen is ReadStatus.READ else seen


def _lines(stream: IO[bytes], version: DatasetVersion) -> list[bytes] | None:
    """The lines of a manifest, unparsed; None when it is damaged or not that of the version."""
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
    """What all files of a folder are now, compared with a version's record. Raises ContentError.

    depth: `default` believes the stat cache, anything else hashes now. manifest: as of `read_bytes`; no digest covers
    its header. rules: the patterns that the version was made by, from a source that is covered; None for unknown.

    Patterns decide which files count, so nothing matches by patterns that anybody may have written: where they are
    unknown and leave files out, the evidence has no proof. Where the header differs from `rules`, both must match.
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
    seen = ByteEvidence(
        ReadStatus.READ,
        proof=Proof.HASHED if cache is None else Proof.CACHED,
        digest=found.digest,
        files=len(found),
        bytes=found.total_bytes,
        difference=changes,
    )
    hidden = sorted(path for path in left_out if path != IGNORE_FILE)
    if not same or rules is not None or not hidden:
        return seen
    return replace(seen, proof=Proof.NONE, reason=_hidden(hidden))


def _hidden(paths: list[str], limit: int = 5) -> str:
    named = ", ".join(one_line(path, 80) for path in paths[:limit])
    more = f" and {len(paths) - limit:,} more" if len(paths) > limit else ""
    return f"patterns that the record does not vouch for leave out {named}{more}; all other files match"


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The recorded manifest, parsed only as far as is needed."""

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
    place: LocalCopy, lines: Sequence[bytes], unchanged: Unchanged | None, progress: Progress
) -> ByteEvidence:
    """Look at each listed file by itself. unchanged: says which need not be read; None reads everything.

    Lines stay unparsed and lists hold nothing but texts and numbers, as there may be a million of them.
    """
    addresses = [_address(place, line) for line in lines]
    sizes = [int(line[line.rindex(b":", 0, -_TAIL) + 1 : -_TAIL]) for line in lines]
    known = dict(zip(addresses, range(len(lines)), strict=True))
    missing, damaged, todo = set(), set(), []
    root = os.open(place.folder, os.O_RDONLY)
    try:
        for address, number in known.items():
            try:
                status = os.stat(os_text(address), dir_fd=root, follow_symlinks=not place.by_digest)
            except (FileNotFoundError, NotADirectoryError):
                missing.add(address)
                continue
            except OSError as error:
                return ByteEvidence(ReadStatus.FAILED, reason=reason(error), paths=(parse_line(lines[number]).path,))
            if status.st_size != sizes[number] or (place.by_digest and not stat.S_ISREG(status.st_mode)):
                damaged.add(address)
            elif unchanged is None or not unchanged(address, status):
                todo.append((number, address, sizes[number]))
    finally:
        os.close(root)
    progress.total(len(todo), sum(size for _, _, size in todo))
    reader = Reader(place.folder, None, progress, large_files=sum(size >= LARGE for _, _, size in todo))
    for batch in read_parallel(reader, todo):
        damaged |= {read.path for number, read, _ in batch if read.digest != _digest(lines[number])}
    if reader.problems:
        return _failure(_problem(reader, place.folder))
    if missing or damaged:
        return _harmed(lines, addresses, missing, damaged)
    proof = Proof.HASHED if len(todo) == len(known) else Proof.CACHED
    same = Difference(unchanged=len(lines))
    return ByteEvidence(ReadStatus.READ, proof=proof, files=len(lines), bytes=sum(sizes), difference=same)


def _address(place: LocalCopy, line: bytes) -> str:
    if not place.by_digest:
        return parse_line(line).path
    digest = _digest(line)
    return f"{digest[:2]}/{digest}"


def _digest(line: bytes) -> str:
    return line[-66:-2].decode("ascii")


def _problem(reader: Reader, folder: Path) -> ContentError:
    try:
        reader.problems.raise_any(folder)
    except ContentError as error:
        return error
    raise AssertionError("called without a problem")


def _harmed(lines: Sequence[bytes], addresses: Sequence[str], missing: set[str], damaged: set[str]) -> ByteEvidence:
    listed = list(zip(lines, addresses, strict=True))
    gone = [parse_line(line).path for line, address in listed if address in missing]
    other = [parse_line(line).path for line, address in listed if address in damaged]
    told = [f"{human_count(len(gone), 'file')} gone"] if gone else []
    told += [f"{human_count(len(other), 'file')} with other bytes"] if other else []
    text = f"{' and '.join(told)}, of {len(lines):,} looked at"
    return ByteEvidence(
        ReadStatus.GONE if gone else ReadStatus.DAMAGED, reason=text, paths=tuple(sorted(gone + other))
    )
