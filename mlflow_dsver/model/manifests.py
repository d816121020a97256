"""Manifests: the files of a version, with size and digest of each, and how they were read.

The text format is sorted JSON lines: a header that records how the manifest was made, then one line per file. The
content digest is the BLAKE3 of the lines below the header and of nothing else, so the same bytes under the same paths
have the same digest on every machine, whatever tool, date or provider they came from; `zcat FILE | tail -n +2 |
b3sum` checks it without this package. Manifests that are read are not trusted: paths that leave the folder, wrong
order, duplicates and wrong types are refused.
"""

from __future__ import annotations

import gc
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from json.encoder import encode_basestring
from typing import IO, Any, NamedTuple

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.text import human_bytes, human_count, one_line

SCHEMA = 1
DIGEST_PREFIX = "blake3:"
MAX_LINE = 64 * 1024
MAX_SIZE = 1 << 63
MAX_UNPACKED = 1 << 33
"""Uncompressed bytes above which every manifest is refused."""
_HEX = re.compile(r"[0-9a-f]{64}\Z")


class FileEntry(NamedTuple):
    """One file: its path below the folder with `/`, its size in bytes, and its BLAKE3 as 64 hex digits."""

    path: str
    bytes: int
    digest: str

    def line(self) -> str:
        """The line of this file in a manifest, newline included."""
        return f'{{"path":{encode_basestring(self.path)},"bytes":{self.bytes},"digest":"{self.digest}"}}\n'


@contextmanager
def gc_paused() -> Iterator[None]:
    """Disable the cyclic garbage collector, for all threads, while millions of entries are created in the block.

    Entries have no reference cycles. With MLflow loaded, each collection visits hundreds of thousands of objects,
    which doubled the time of hashing or comparing large folders. Not for blocks that wait.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class InvalidManifest(ValueError):
    """A text is not a valid manifest; the message names the line and the reason."""


class ManifestTooLarge(InvalidManifest):
    """A manifest exceeds a limit of its reader; the message names the limit."""


@dataclass(frozen=True, slots=True)
class ManifestLimits:
    """Limits for reading a manifest that anybody may have written.

    compressed, unpacked: bytes. files: entries. seconds: wall clock for the whole; None for no limit.
    """

    compressed: int = 1 << 28
    unpacked: int = 1 << 30
    files: int = 8_000_000
    seconds: float | None = 600.0

    def meter(self) -> Meter:
        """A counter for reading one manifest."""
        return Meter(self, Deadline(self.seconds))


@dataclass(slots=True)
class Meter:
    """Counts what was read of one manifest and enforces the limits."""

    limits: ManifestLimits
    deadline: Deadline
    unpacked: int = 0
    files: int = -1  # the header is a line as well

    def count(self, unpacked: int, lines: int, stream: IO[bytes]) -> None:
        """Add bytes and lines; stream: the compressed one. Raises ManifestTooLarge."""
        self.unpacked += unpacked
        self.files += lines
        limits = self.limits
        if self.unpacked > limits.unpacked:
            raise ManifestTooLarge(f"more than {limits.unpacked:,} bytes when unpacked")
        if self.files > limits.files:
            raise ManifestTooLarge(f"more than {limits.files:,} files")
        if self.deadline.left() <= 0:
            raise ManifestTooLarge(f"not read within {limits.seconds:g} seconds")
        if stream.seekable() and stream.tell() > limits.compressed:
            raise ManifestTooLarge(f"more than {limits.compressed:,} bytes")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a version, sorted by path, and how they were read.

    made: how the manifest was made (tool, patterns, treatment of links); not part of the digest.
    """

    entries: tuple[FileEntry, ...]
    made: Mapping[str, Any] = field(default_factory=dict)
    digest: str = field(init=False)
    """`blake3:<hex>`: the content digest."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", content_digest(self.entries))

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.bytes for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def header(self) -> str:
        """The first line, newline included."""
        fields = {
            "schema": SCHEMA,
            "files": len(self.entries),
            "bytes": self.total_bytes,
            "content_digest": self.digest,
            "made": self.made,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=False) + "\n"

    def write(self, stream: IO[bytes]) -> None:
        """Write gzip-compressed text; the same manifest always gives the same bytes."""
        with gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=1, mtime=0) as zipped:
            zipped.write(self.header().encode())
            for block in _blocks(self.entries):
                zipped.write(block)

    def to_bytes(self) -> bytes:
        """What `write` writes."""
        stream = io.BytesIO()
        self.write(stream)
        return stream.getvalue()


def content_digest(entries: Iterable[FileEntry]) -> str:
    """`blake3:<hex>` of the entries' lines, in the order given, which must be that of a manifest."""
    from blake3 import blake3

    hasher = blake3()
    for block in _blocks(entries):
        hasher.update(block)
    return DIGEST_PREFIX + hasher.hexdigest()


def read(stream: IO[bytes], *, max_bytes: int = MAX_UNPACKED, limits: ManifestLimits | None = None) -> Manifest:
    """Read what `Manifest.write` wrote; raises InvalidManifest for anything else.

    max_bytes: uncompressed size above which it is refused. limits: for a manifest that does not come from a local
    store; raises ManifestTooLarge.
    """
    lines = _lines(stream, max_bytes, limits)
    header = _object(next(lines, b""), 1)
    if header.get("schema") != SCHEMA:
        raise InvalidManifest(f"a manifest of schema {header.get('schema')!r}; this version reads {SCHEMA}")
    made = header.get("made")
    if not isinstance(made, dict):
        raise InvalidManifest("the header does not say how the manifest was made")
    manifest = Manifest(tuple(_entries(lines)), made=made)
    if header.get("files") != len(manifest) or header.get("content_digest") != manifest.digest:
        raise InvalidManifest(
            f"the header promises {header.get('files')} files and {header.get('content_digest')}; "
            f"the lines give {len(manifest)} files and {manifest.digest}"
        )
    return manifest


@dataclass(frozen=True, slots=True)
class Difference:
    """What changed from one manifest to another; false when nothing did. Every tuple is sorted by path.

    changed: (before, after) under the same path. renamed: (before, after) with the same bytes under another path.
    """

    added: tuple[FileEntry, ...] = ()
    removed: tuple[FileEntry, ...] = ()
    changed: tuple[tuple[FileEntry, FileEntry], ...] = ()
    renamed: tuple[tuple[FileEntry, FileEntry], ...] = ()
    unchanged: int = 0

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.renamed)

    @property
    def growth(self) -> int:
        """By how many bytes the whole grew; negative when it shrank."""
        grown = sum(entry.bytes for entry in self.added) - sum(entry.bytes for entry in self.removed)
        return grown + sum(after.bytes - before.bytes for before, after in self.changed)

    def to_json(self) -> dict[str, Any]:
        """Counts, growth in bytes, and every path concerned."""
        return {
            "added": [entry._asdict() for entry in self.added],
            "removed": [entry._asdict() for entry in self.removed],
            "changed": [{"before": a._asdict(), "after": b._asdict()} for a, b in self.changed],
            "renamed": [{"before": a._asdict(), "after": b._asdict()} for a, b in self.renamed],
            "unchanged": self.unchanged,
            "growth": self.growth,
        }


def difference(before: Manifest, after: Manifest) -> Difference:
    """Compare two manifests; a removed and an added file with the same bytes are a rename."""
    old = {entry.path: entry for entry in before.entries}
    added: list[FileEntry] = []
    changed: list[tuple[FileEntry, FileEntry]] = []
    unchanged = 0
    for entry in after.entries:
        former = old.pop(entry.path, None)
        if former is None:
            added.append(entry)
        elif former.digest != entry.digest:
            changed.append((former, entry))
        else:
            unchanged += 1
    removed = sorted(old.values())
    renamed, added, removed = renamings(added, removed)
    return Difference(tuple(added), tuple(removed), tuple(changed), tuple(renamed), unchanged)


def renamings(
    added: list[FileEntry], removed: list[FileEntry]
) -> tuple[list[tuple[FileEntry, FileEntry]], list[FileEntry], list[FileEntry]]:
    """Pairs of removed and added files with the same bytes, then the remaining added and removed; all by path."""
    gone: dict[str, list[FileEntry]] = {}
    for entry in reversed(removed):
        gone.setdefault(entry.digest, []).append(entry)
    renamed, came = [], []
    for entry in added:
        if former := gone.get(entry.digest):
            renamed.append((former.pop(), entry))
        else:
            came.append(entry)
    return renamed, came, sorted(entry for entries in gone.values() for entry in entries)


def check_path(path: object) -> str:
    """Return a path that stays below its folder, or raise InvalidManifest."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise InvalidManifest(f"not a path: {ascii(path)[:80]}")
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        raise InvalidManifest(f"a path that is absolute or leaves its folder: {ascii(path)[:80]}")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise InvalidManifest(f"a path that is not Unicode text: {ascii(path)[:80]}") from error
    return path


def _blocks(entries: Iterable[FileEntry], size: int = 2000) -> Iterator[bytes]:
    lines: list[str] = []
    for entry in entries:
        lines.append(entry.line())
        if len(lines) == size:
            yield "".join(lines).encode()
            lines.clear()
    yield "".join(lines).encode()


def _lines(stream: IO[bytes], max_bytes: int, limits: ManifestLimits | None) -> Iterator[bytes]:
    total = 0
    meter = limits.meter() if limits is not None else None
    try:
        with gzip.GzipFile(fileobj=stream, mode="rb") as unzipped:
            while line := unzipped.readline(MAX_LINE):
                if meter is not None:
                    meter.count(len(line), 1, stream)
                total += len(line)
                if total > max_bytes:
                    raise InvalidManifest(f"larger than {max_bytes} bytes")
                if not line.endswith(b"\n"):
                    raise InvalidManifest("a line that is cut off or too long")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidManifest(f"not readable as gzip: {error}") from error


def _entries(lines: Iterator[bytes]) -> Iterator[FileEntry]:
    last = ""
    beginnings: list[str] = []  # files whose paths are prefixes of the current one
    for number, line in enumerate(lines, start=2):
        fields = _object(line, number)
        path, size, digest = check_path(fields.get("path")), fields.get("bytes"), fields.get("digest")
        if type(size) is not int or not 0 <= size < MAX_SIZE or not isinstance(digest, str) or not _HEX.match(digest):
            raise InvalidManifest(f"line {number}: not a size or not a digest")
        if path <= last:
            raise InvalidManifest(f"line {number}: not sorted, or twice the same path")
        while beginnings and not path.startswith(beginnings[-1]):
            beginnings.pop()
        if any(path[len(file)] == "/" for file in beginnings):
            raise InvalidManifest(f"line {number}: lies in a folder that is a file")
        beginnings.append(path)
        last = path
        yield FileEntry(path, size, digest)


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"line {number}: not JSON") from error
    if not isinstance(fields, dict):
        raise InvalidManifest(f"line {number}: not a JSON object")
    return fields


@dataclass(frozen=True, slots=True)
class Overlap:
    """The files of the role `second` that are byte-identical to files of `first`, such as test images in training.

    Empty files are not counted, as they are all identical.
    pairs: (a file of first, the identical file of second), sorted by the path in second.
    total: number of files of second that are not empty.
    """

    first: str
    second: str
    pairs: tuple[tuple[FileEntry, FileEntry], ...]
    total: int

    @property
    def bytes(self) -> int:
        """Total size of the files of second that are in first as well."""
        return sum(entry.bytes for _, entry in self.pairs)

    def __str__(self) -> str:
        """`3 files of test (of 360, 1.2 KiB) are in training as well, such as a.png (training: b/a.png)`."""
        files = human_count(len(self.pairs), "file")
        verb = "is" if len(self.pairs) == 1 else "are"
        before, after = self.pairs[0]
        size = human_bytes(self.bytes)
        return (
            f"{files} of {self.second} (of {self.total:,}; {size}) {verb} in {self.first} as well, "
            f"such as {one_line(after.path, 80)} ({self.first}: {one_line(before.path, 80)})"
        )


def find_overlaps(manifests: Mapping[str, Manifest]) -> tuple[Overlap, ...]:
    """The overlaps of all pairs of roles that have any; `second` is the role with fewer files."""
    contents = {role: _contents(manifest.entries) for role, manifest in manifests.items()}
    found = []
    for one, other in combinations(sorted(manifests), 2):
        first, second = sorted((one, other), key=lambda role: (-len(manifests[role]), role))
        shared = contents[first].keys() & contents[second].keys()
        if shared:
            pairs = tuple(
                (contents[first][entry.digest], entry)
                for entry in manifests[second].entries
                if entry.digest in shared
            )
            total = sum(entry.bytes > 0 for entry in manifests[second].entries)
            found.append(Overlap(first, second, pairs, total))
    return tuple(found)


def _contents(entries: Iterable[FileEntry]) -> dict[str, FileEntry]:
    """Digest to the first file with it, without empty files."""
    known: dict[str, FileEntry] = {}
    for entry in entries:
        if entry.bytes:
            known.setdefault(entry.digest, entry)
    return known
