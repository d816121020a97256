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
        rest = b""
        for block in self._blocks:
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > MAX_LINE:
                raise InvalidManifest("a line that is too long")
            if lines:
                self._hasher.update(b"\n".join(lines) + b"\n")
                yield from lines
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


def _merged(before: ManifestStream, after: ManifestStream, most: int | None) -> Difference:
    old, new = iter(before), iter(after)
    left, right = next(old, None), next(new, None)
    removed: list[FileEntry] = []
    added: list[FileEntry] = []
    pairs = Pairs()
    equal = 0
    plain = SCHEMA in (before.header["schema"], after.header["schema"])

    def check_number() -> None:
        if most is not None and len(removed) + len(added) + len(pairs.changed) + len(pairs.unknown) >= most:
            raise TooManyDifferences(f"more than {most} files differ")

    while left is not None and right is not None:
        if left == right:
            if plain or _STRONG(left):
                equal += 1
            else:
                entry = parse_line(left)
                pairs.add(entry, entry)
            left, right = next(old, None), next(new, None)
            continue
        check_number()
        first, second = parse_line(left), parse_line(right)
        if first.path == second.path:
            pairs.add(first, second)
            left, right = next(old, None), next(new, None)
        elif first.path < second.path:
            removed.append(first)
            left = next(old, None)
        else:
            added.append(second)
            right = next(new, None)
    for some, rest in ((removed, _from(left, old)), (added, _from(right, new))):
        for line in rest:
            check_number()
            some.append(parse_line(line))
    found = pairs.difference(added, removed)
    return replace(found, unchanged=found.unchanged + equal)


def _from(line: bytes | None, rest: Iterator[bytes]) -> Iterator[bytes]:
    if line is not None:
        yield line
        yield from rest


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
