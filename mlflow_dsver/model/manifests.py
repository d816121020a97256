"""Manifests: the files of a version, with size and what identifies the content of each, and how they were read.

The text format is sorted JSON lines: a header that records how the manifest was made, then one line per file. The
content digest is the BLAKE3 of the lines below the header and of nothing else; `zcat FILE | tail -n +2 | b3sum`
checks it without this package. Manifests that are read are not trusted: paths that leave the folder, wrong order,
duplicates and wrong types are refused.

Schema 1 has the BLAKE3 of each file, so the same bytes under the same paths have the same content digest on every
machine, whatever tool, date or provider they came from. In schema 2 a file may instead, or also, have evidence that a
store keeps of it (`model.evidence`); equal digests then mean equal files, but the same bytes in two stores have
different ones. A manifest without such evidence is always of schema 1.
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
from json.encoder import encode_basestring
from typing import IO, Any, NamedTuple

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.evidence import FileEvidence, parse_evidence, strongest

SCHEMA, EVIDENCE_SCHEMA = 1, 2
SCHEMAS = (SCHEMA, EVIDENCE_SCHEMA)
"""Schemas that are read: without evidence, and with it."""
DIGEST_PREFIX = "blake3:"
MAX_LINE = 64 * 1024
MAX_SIZE = 1 << 63
MAX_UNPACKED = 1 << 33
"""Uncompressed bytes above which every manifest is refused."""
_HEX = re.compile(r"[0-9a-f]{64}\Z")


class FileEntry(NamedTuple):
    """One file: its path below the folder with `/`, its size in bytes, and what identifies its content.

    digest: its BLAKE3 as 64 hex digits; if it was not hashed here, the strongest checksum of the whole file as
    `algorithm:<hex>`, or an empty string when no checksum is known. Equal digests that are not empty mean equal
    content, as far as the algorithm proves; different ones need `model.differences.compare`. evidence: what a store
    said of it; None for a file that only has its BLAKE3.
    """

    path: str
    bytes: int
    digest: str
    evidence: FileEvidence | None = None

    @property
    def blake3(self) -> str | None:
        """The BLAKE3, 64 hex digits; None when the file was not hashed here."""
        return self.digest if self.digest and ":" not in self.digest else None

    def line(self) -> str:
        """The line of this file in a manifest, newline included."""
        if self.evidence is None:
            return f'{{"path":{encode_basestring(self.path)},"bytes":{self.bytes},"digest":"{self.digest}"}}\n'
        return json.dumps(self.to_json(), ensure_ascii=False, separators=(",", ":")) + "\n"

    def to_json(self) -> dict[str, Any]:
        """The fields of its line."""
        fields: dict[str, Any] = {"path": self.path, "bytes": self.bytes}
        if self.blake3 is not None:
            fields["digest"] = self.digest
        return fields if self.evidence is None else fields | self.evidence.to_json()


def with_evidence(path: str, size: int, evidence: FileEvidence, blake3: str | None = None) -> FileEntry:
    """The entry of a file that a store describes. size: in bytes. blake3: 64 hex digits, where it was hashed here."""
    if blake3 is not None and evidence == FileEvidence():
        return FileEntry(path, size, blake3)
    best = strongest(evidence.checksums)
    return FileEntry(path, size, blake3 or (best.key if best else ""), evidence)


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
    schema: int = field(init=False)
    """1, or 2 when any file has evidence."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", content_digest(self.entries))
        plain = all(entry.evidence is None for entry in self.entries)
        object.__setattr__(self, "schema", SCHEMA if plain else EVIDENCE_SCHEMA)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.bytes for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def header(self) -> str:
        """The first line, newline included."""
        fields = {
            "schema": self.schema,
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
    if header.get("schema") not in SCHEMAS:
        raise InvalidManifest(f"a manifest of schema {header.get('schema')!r}; this version reads {SCHEMAS}")
    made = header.get("made")
    if not isinstance(made, dict):
        raise InvalidManifest("the header does not say how the manifest was made")
    manifest = Manifest(tuple(_entries(lines, header["schema"])), made=made)
    if header.get("files") != len(manifest) or header.get("content_digest") != manifest.digest:
        raise InvalidManifest(
            f"the header promises {header.get('files')} files and {header.get('content_digest')}; "
            f"the lines give {len(manifest)} files and {manifest.digest}"
        )
    return manifest


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


def _entries(lines: Iterator[bytes], schema: int) -> Iterator[FileEntry]:
    last = ""
    beginnings: list[str] = []  # files whose paths are prefixes of the current one
    for number, line in enumerate(lines, start=2):
        fields = _object(line, number)
        try:
            entry = parse_entry(fields, schema)
        except InvalidManifest as error:
            raise InvalidManifest(f"line {number}: {error}") from error
        path = entry.path
        if path <= last:
            raise InvalidManifest(f"line {number}: not sorted, or twice the same path")
        while beginnings and not path.startswith(beginnings[-1]):
            beginnings.pop()
        if any(path[len(file)] == "/" for file in beginnings):
            raise InvalidManifest(f"line {number}: lies in a folder that is a file")
        beginnings.append(path)
        last = path
        yield entry


def parse_entry(fields: Mapping[str, Any], schema: int) -> FileEntry:
    """The file that the fields of a line describe; schema: that of the manifest. Raises InvalidManifest."""
    path, size, digest = check_path(fields.get("path")), fields.get("bytes"), fields.get("digest")
    if type(size) is not int or not 0 <= size < MAX_SIZE:
        raise InvalidManifest("not a size")
    try:
        evidence = parse_evidence(fields) if schema == EVIDENCE_SCHEMA else None
    except ValueError as error:
        raise InvalidManifest(str(error)) from error
    if digest is None and evidence is not None:
        return with_evidence(path, size, evidence)
    if not isinstance(digest, str) or not _HEX.match(digest):
        raise InvalidManifest("not a digest")
    return FileEntry(path, size, digest) if evidence is None else with_evidence(path, size, evidence, digest)


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"line {number}: not JSON") from error
    if not isinstance(fields, dict):
        raise InvalidManifest(f"line {number}: not a JSON object")
    return fields
