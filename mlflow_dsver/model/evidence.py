"""What proves the identity of a file beside its BLAKE3: checksums, and what an object store says of an object.

A checksum has an algorithm, an extent and somebody who computed it. BLAKE3, SHA-256 and SHA-512 prove against intent;
MD5, SHA-1 and the CRCs against accident only, since another content with the same value can be made. `gitblob` is the
SHA-1 that git calls a file by: of `blob <size>`, a zero byte and the content. A version id names one state of an
object for ever. ETag, size and date prove nothing about content, but show that an object was
written again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

Extent = Literal["full", "composite"]
"""`composite`: computed over the checksums of an upload's parts, so it depends on their sizes; ends in `-<parts>`."""
By = Literal["here", "store", "provider"]
"""Who computed a checksum: this package, the store that keeps the bytes, or a provider that only states it."""

STRONG = ("blake3", "sha512", "sha256")
"""Algorithms that prove against intent, best first."""
WEAK = ("gitblob", "sha1", "md5", "crc64nvme", "crc32c", "crc32")
"""Algorithms that prove against accident only, best first."""

_DIGITS = {
    "blake3": 64, "sha512": 128, "sha256": 64, "gitblob": 40, "sha1": 40, "md5": 32,
    "crc64nvme": 16, "crc32c": 8, "crc32": 8,
}  # fmt: skip
_ORDER = {algorithm: number for number, algorithm in enumerate((*STRONG, *WEAK))}
_HEX = re.compile(r"[0-9a-f]+\Z")
_COMPOSITE = re.compile(r"([0-9a-f]+)-([1-9][0-9]{0,5})\Z")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\Z")
MAX_TEXT = 1024
"""Maximum characters of a version id and of an ETag."""


class Checksum(NamedTuple):
    """One checksum of a file. value: lower-case hex; that of a composite one ends in `-<number of parts>`."""

    algorithm: str
    value: str
    extent: Extent = "full"
    by: By = "here"

    @property
    def key(self) -> str:
        """`sha256:<hex>`, the form in which checksums of whole files are compared."""
        return f"{self.algorithm}:{self.value}"


class FileEvidence(NamedTuple):
    """What a store says of an object when a version was made of it.

    checksums: strongest first, at most one of an algorithm and extent. version: the store's id of this state of the
    object; None where the store keeps only one. etag: without quotes. modified: UTC, such as `2026-12-01T06:00:00Z`.
    """

    checksums: tuple[Checksum, ...] = ()
    version: str | None = None
    etag: str | None = None
    modified: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The keys of a manifest's line, in their order; what is unknown is left out."""
        data: dict[str, Any] = {}
        if self.checksums:
            data["checksums"] = [
                {"algorithm": each.algorithm, "value": each.value}
                | ({"extent": each.extent} if each.extent != "full" else {})
                | {"by": each.by}
                for each in self.checksums
            ]
        for name in ("version", "etag", "modified"):
            if (value := getattr(self, name)) is not None:
                data[name] = value
        return data


class Comparison(NamedTuple):
    """Whether two files have the same content; None when nothing that both have tells.

    by: what decided, such as `sha256`. Strong if `by` proves against intent.
    """

    same: bool | None
    by: str = ""

    @property
    def strong(self) -> bool:
        """Whether the answer also holds against somebody who wants it to be wrong."""
        return self.same is False or self.by in STRONG or self.by == VERSION_ID


VERSION_ID = "version id"
ETAG = "ETag"
UNKNOWN = Comparison(None)


def ordered(checksums: Iterator[Checksum] | tuple[Checksum, ...] | list[Checksum]) -> tuple[Checksum, ...]:
    """Strongest first, full before composite, as manifests have them."""
    return tuple(sorted(checksums, key=lambda each: (_ORDER[each.algorithm], each.extent == "composite", each.value)))


def strongest(checksums: tuple[Checksum, ...]) -> Checksum | None:
    """The strongest checksum of a whole file; None when there is none."""
    return next((each for each in checksums if each.extent == "full"), None)


def compare_evidence(blake3: tuple[str | None, str | None], pair: tuple[FileEvidence, FileEvidence]) -> Comparison:
    """Compare two files of the same size by whatever both have, strongest first; nothing is fetched.

    blake3: hex digits of each, None where not hashed here.
    """
    one, other = pair
    if one.version is not None and (one.version, one.etag) == (other.version, other.etag):
        return Comparison(True, VERSION_ID)
    known = {(each.algorithm, each.extent): each.value for each in _all(blake3[0], one)}
    shared = [
        (each, known[each.algorithm, each.extent])
        for each in _all(blake3[1], other)
        if (each.algorithm, each.extent) in known
    ]
    for checksum, value in shared:
        if checksum.value == value:
            return Comparison(True, checksum.algorithm)
        if checksum.extent == "full":
            return Comparison(False, checksum.algorithm)  # the same bytes in other parts have another composite one
    if one.etag is not None and one.etag == other.etag:
        return Comparison(True, ETAG)
    return UNKNOWN


def _all(blake3: str | None, evidence: FileEvidence) -> list[Checksum]:
    hashed = [Checksum("blake3", blake3)] if blake3 else []
    return [*hashed, *evidence.checksums]


def parse_evidence(fields: Mapping[str, Any]) -> FileEvidence | None:
    """The evidence in the fields of a manifest's line; None when they have none. Raises ValueError for malformed."""
    given = fields.get("checksums")
    texts = [fields.get(name) for name in ("version", "etag", "modified")]
    if given is None and texts == [None, None, None]:
        return None
    if given is not None and not isinstance(given, list):
        raise ValueError("checksums: not a list")
    for text in texts:
        if text is not None and not (isinstance(text, str) and 0 < len(text) <= MAX_TEXT and text.isprintable()):
            raise ValueError("version, etag or modified: not a short text")
    if texts[2] is not None and not _DATE.match(texts[2]):
        raise ValueError("modified: not a date in UTC")
    checksums = tuple(map(_checksum, given or ()))
    if checksums != ordered(checksums) or len({each[0::2] for each in checksums}) != len(checksums):
        raise ValueError("checksums: not in order, or twice the same algorithm")
    return FileEvidence(checksums, *texts)


def _checksum(fields: object) -> Checksum:
    if not isinstance(fields, dict):
        raise ValueError("checksums: not an object")
    algorithm, value, by = fields.get("algorithm"), fields.get("value"), fields.get("by")
    extent = fields.get("extent", "full")
    if algorithm not in _DIGITS or by not in get_args(By) or extent not in get_args(Extent):
        raise ValueError("checksums: an unknown algorithm, extent or origin")
    return checked(Checksum(str(algorithm), value, extent, by))  # type: ignore[arg-type]


def checked(checksum: Checksum) -> Checksum:
    """Hand back a checksum whose value has the form of its algorithm and extent. Raises ValueError."""
    value = checksum.value
    if isinstance(value, str) and checksum.extent == "composite":
        found = _COMPOSITE.match(value)
        value = found[1] if found else ""
    digits = _DIGITS.get(checksum.algorithm)
    if digits is None or not isinstance(value, str) or len(value) != digits or not _HEX.match(value):
        raise ValueError(f"not a value of {checksum.algorithm}")
    return checksum
