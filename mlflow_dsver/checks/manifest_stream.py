"""Read manifests as a stream of raw lines, and diff two of them without parsing equal lines.

Parsing a manifest of a million files takes seconds and hundreds of megabytes of memory, and most lines of two
manifests are equal. Both are therefore read in parallel, equal lines are counted, and only different lines are
parsed. Each manifest is hashed while it is read and must have the content digest in its header. Parsed lines are
validated as in `mlflow_dsver.model.manifests`; the other lines are only as trustworthy as the digest, which the
caller compares with a recorded one.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

from mlflow_dsver.model.differences import Difference, Pairs
from mlflow_dsver.model.manifests import (
    DIGEST_PREFIX,
    EVIDENCE_SCHEMA,
    MAX_LINE,
    MAX_UNPACKED,
    SCHEMA,
    SCHEMAS,
    FileEntry,
    InvalidManifest,
    ManifestLimits,
    gc_paused,
    parse_entry,
)

_BLOCK = 1 << 20
_STEP = 1024
"""Bytes that are compared at first to find how far two manifests are equal."""
_STRONG = re.compile(rb'"(?:digest|version)":"|"algorithm":"sha(?:256|512)"').search
"""Whether a line has evidence that proves against intent. Inside a path each quote has a backslash before it."""
_PLAIN = re.compile(rb'\{"path":"([ !#-\[\]-~]+)","bytes":(0|[1-9][0-9]{0,17}),"digest":"([0-9a-f]{64})"\}').fullmatch


class ManifestStream:
    """The lines of one compressed manifest, after its header; iterate once.

    header: the parsed first line. After the last line, the digest of all lines is compared with the header's.
    Raises InvalidManifest if they differ, or for any other damage.
    """

    def __init__(self, stream: IO[bytes], limits: ManifestLimits | None = None) -> None:
        """limits: for a manifest from an untrusted source; raises ManifestTooLarge here and while iterating."""
        from blake3 import blake3

        self._hasher = blake3()
        self._blocks = _blocks(stream, limits)
        self.header = _header(self._first_line())

    @property
    def content_digest(self) -> str:
        """The content digest in the header; verified once all lines were read."""
        return str(self.header["content_digest"])

    def __iter__(self) -> Iterator[bytes]:
        for block in self.blocks():
            yield from block[:-1].split(b"\n")

    def blocks(self) -> Iterator[bytes]:
        """The lines as blocks of many, each line with its newline; in the place of iterating over the lines."""
        rest = b""
        for block in self._blocks:
            whole, newline, rest = (rest + block).rpartition(b"\n")
            if len(rest) > MAX_LINE:
                raise InvalidManifest("a line that is too long")
            if newline:
                self._hasher.update(whole + newline)
                yield whole + newline
        if rest:
            raise InvalidManifest("a line that is cut off")
        found = DIGEST_PREFIX + self._hasher.hexdigest()
        if found != self.content_digest:
            raise InvalidManifest(f"the header has content digest {self.content_digest}; the lines have {found}")

    def _first_line(self) -> bytes:
        text = b""
        for block in self._blocks:
            text += block
            first, newline, rest = text.partition(b"\n")
            if newline:
                self._blocks = _chain(rest, self._blocks)
                return first
            if len(text) > MAX_LINE:
                break
        raise InvalidManifest("no header")


def parse_line(line: bytes) -> FileEntry:
    """Parse one line without its newline; raises InvalidManifest."""
    if plain := _PLAIN(line):  # fast path for printable ASCII without escapes
        path = plain[1].decode()
        if "/." not in path and "//" not in path and path[0] not in "./" and path[-1] != "/":
            return FileEntry(path, int(plain[2]), plain[3].decode())
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"not a line of a manifest: {line[:80]!a}") from error
    if not isinstance(fields, dict):
        raise InvalidManifest(f"not a line of a manifest: {line[:80]!a}")
    try:
        return parse_entry(fields, EVIDENCE_SCHEMA)
    except InvalidManifest as error:
        raise InvalidManifest(f"{error}: {line[:80]!a}") from error


class TooManyDifferences(ValueError):
    """Two manifests differ in more files than the caller allows."""


def diff_streams(
    before: IO[bytes], after: IO[bytes], *, most: int | None = None, limits: ManifestLimits | None = None
) -> Difference:
    """The difference of two compressed manifests; raises InvalidManifest if one is damaged.

    most: maximum number of different files, None for no limit; raises TooManyDifferences before more are held in
    memory. limits: of each manifest, as for `ManifestStream`.
    """
    with gc_paused():
        return _merged(ManifestStream(before, limits), ManifestStream(after, limits), most)


class _Cursor:
    """A position in the lines of a manifest. data: the block that is read, of whole lines; at: where one begins."""

    def __init__(self, stream: ManifestStream) -> None:
        self._blocks = stream.blocks()
        self.data, self.at = b"", 0

    def has_line(self) -> bool:
        """Whether there is a line; reads the next block where the last one is used up."""
        while self.at >= len(self.data):
            block = next(self._blocks, None)
            if block is None:
                return False
            self.data, self.at = block, 0
        return True

    def line(self) -> bytes:
        """The line at this position, without its newline."""
        return self.data[self.at : self.data.index(b"\n", self.at)]

    def rest(self) -> Iterator[bytes]:
        """All lines from this position on."""
        while self.has_line():
            line = self.line()
            self.at += len(line) + 1
            yield line


def _equal_bytes(old: _Cursor, new: _Cursor) -> int:
    """How many bytes of whole lines are the same from both positions on; found by comparing ever larger pieces."""
    most = min(len(old.data) - old.at, len(new.data) - new.at)
    equal, step = 0, _STEP
    while equal < most and step >= _STEP // 16:
        one, other, size = old.at + equal, new.at + equal, min(step, most - equal)
        if old.data[one : one + size] == new.data[other : other + size]:
            equal += size
            step *= 2
        else:
            most, step = equal + size - 1, size // 4
    return max(old.data.rfind(b"\n", old.at, old.at + equal) + 1 - old.at, 0)


def _merged(before: ManifestStream, after: ManifestStream, most: int | None) -> Difference:
    """Walks both in the order of paths. What is equal is passed over in blocks; lines are taken where they differ."""
    old, new = _Cursor(before), _Cursor(after)
    removed: list[FileEntry] = []
    added: list[FileEntry] = []
    pairs = Pairs()
    plain = SCHEMA in (before.header["schema"], after.header["schema"])
    equal, in_step = 0, True

    def check_number() -> None:
        if most is not None and len(removed) + len(added) + len(pairs.changed) + len(pairs.unknown) >= most:
            raise TooManyDifferences(f"more than {most} files differ")

    while old.has_line() and new.has_line():
        size = _equal_bytes(old, new) if in_step else 0
        if size:
            equal += _count_equal(old.data[old.at : old.at + size], plain, pairs)
            old.at += size
            new.at += size
            continue
        left, right = old.line(), new.line()
        in_step = left == right
        if in_step:
            equal += _count_equal(left + b"\n", plain, pairs)
            old.at += len(left) + 1
            new.at += len(right) + 1
            continue
        check_number()
        first, second = parse_line(left), parse_line(right)
        if first.path == second.path:
            pairs.add(first, second)
            in_step = True
        elif first.path < second.path:
            removed.append(first)
        else:
            added.append(second)
        old.at += len(left) + 1 if first.path <= second.path else 0
        new.at += len(right) + 1 if first.path >= second.path else 0
    for some, rest in ((removed, old.rest()), (added, new.rest())):
        for line in rest:
            check_number()
            some.append(parse_line(line))
    found = pairs.difference(added, removed)
    return replace(found, unchanged=found.unchanged + equal)


def _count_equal(lines: bytes, plain: bool, pairs: Pairs) -> int:
    """How many of some lines that both manifests have are of the same content for certain; others go to `pairs`."""
    count = lines.count(b"\n")
    if plain or lines.count(b'"version":"') == count:  # inside a path a quote has a backslash before it
        return count
    strong = 0
    for line in lines[:-1].split(b"\n"):
        if _STRONG(line):
            strong += 1
        else:
            entry = parse_line(line)
            pairs.add(entry, entry)
    return strong


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _blocks(stream: IO[bytes], limits: ManifestLimits | None) -> Iterator[bytes]:
    total = 0
    meter = limits.meter() if limits is not None else None
    try:
        with gzip.GzipFile(fileobj=stream, mode="rb") as unzipped:
            while block := unzipped.read(_BLOCK):
                if meter is not None:
                    meter.count(len(block), block.count(b"\n"), stream)
                total += len(block)
                if total > MAX_UNPACKED:
                    raise InvalidManifest(f"larger than {MAX_UNPACKED} bytes")
                yield block
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidManifest(f"not readable as gzip: {error}") from error


def _header(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest("the header is not JSON") from error
    if not isinstance(header, dict) or header.get("schema") not in SCHEMAS or "content_digest" not in header:
        raise InvalidManifest(f"not the header of a manifest of schema {' or '.join(map(str, SCHEMAS))}")
    return header
