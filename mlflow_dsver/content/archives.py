"""Unpacks untrusted zip archives: refuses, never repairs, and leaves nothing behind when it refuses.

Python's `zipfile` turns `../../evil` into `evil`, uses the last of two equal names, reads overlapping entries, and
lets a few kilobytes become gigabytes. So the archive's central directory is checked as a whole before any byte is
unpacked (counts, sizes, ratio, names, types, offsets), and the output is counted and checksummed while it is written.
"""

from __future__ import annotations

import contextlib
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlflow_dsver.content.atomic_files import atomic_folder, atomic_write, safe_join
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.manifests import check_path

BLOCK = 1 << 20
RATIO_FROM = 16 << 20
"""Unpacked bytes from which the ratio is checked; a small file of zeros is no zip bomb."""
MAX_PATH, MAX_SEGMENT = 1024, 255
"""Bytes of a whole name, and of one part of it, in UTF-8."""
DIRECTORY_ENTRY = 256
"""Bytes that an entry of the central directory may have on average."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s22xHH")
_DRIVE = re.compile(r"[A-Za-z]:")


class InvalidArchive(ValueError):
    """An archive is damaged, malicious or too large; the message says why."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an archive.

    bytes: of all files together, unpacked. entries: files and folders. ratio: unpacked to packed bytes.
    """

    bytes: int = 32 << 30
    entries: int = 100_000
    ratio: int = 250


def unpack(archive: Path, folder: Path, *, limits: Limits | None = None, deadline: Deadline | None = None) -> None:
    """Unpack a zip archive into `folder`, which must not exist; it is complete when it exists.

    Files are flushed to the disk; empty folders of the archive are skipped. Raises InvalidArchive, DeadlineExceeded,
    and OSError (full disk, or the folder was created meanwhile).
    """
    limits = limits or Limits()
    deadline = deadline or Deadline(None)
    with _zip_errors(archive), atomic_folder(folder) as beside:
        _check_size_of_directory(archive, limits)
        with archive.open("rb") as stream, zipfile.ZipFile(stream) as opened:
            left = limits.bytes
            for entry in _checked(opened, stream, limits):
                left -= _write(opened, entry, beside, left, deadline)


@contextlib.contextmanager
def _zip_errors(archive: Path) -> Iterator[None]:
    """Raise InvalidArchive for what `zipfile` and its decompressors raise for a bad archive."""
    try:
        yield
    except InvalidArchive:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError) as error:
        raise InvalidArchive(f"{archive.name} is not a valid zip archive: {error}") from error
    except (ValueError, OverflowError, RuntimeError) as error:  # a path out of the folder, an impossible offset
        raise InvalidArchive(f"{archive.name}: {error}") from error


def _check_size_of_directory(archive: Path, limits: Limits) -> None:
    """Refuse a large central directory before it is read into memory; its entries are counted afterwards."""
    size = archive.stat().st_size
    with archive.open("rb") as stream:
        start = stream.seek(max(0, size - _END.size - _END64_LOCATOR.size - 65_535))
        tail = stream.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < _END.size:
            raise InvalidArchive(f"{archive.name} is not a zip archive, or is truncated")
        _, disk, _, _, _, length, _, _ = _END.unpack_from(tail, at)
        locator = at - _END64_LOCATOR.size
        if locator >= 0 and tail[locator : locator + 4] == b"PK\6\7":
            position = stream.seek(max(0, start + locator - _END64.size))
            if position != _END64_LOCATOR.unpack_from(tail, locator)[2]:
                raise InvalidArchive(f"{archive.name} has contradictory end-of-directory records")
            found = _END64.unpack(stream.read(_END64.size))
            disk, length = found[4], found[8]
    if disk != 0:
        raise InvalidArchive(f"{archive.name} is one part of a multi-part archive")
    if length > limits.entries * DIRECTORY_ENTRY:
        raise InvalidArchive(
            f"{archive.name} has a directory of {length:,} bytes; at most {limits.entries:,} entries are allowed"
        )


def _checked(opened: zipfile.ZipFile, stream: IO[bytes], limits: Limits) -> list[zipfile.ZipInfo]:
    """The files of the archive, when its whole central directory is valid."""
    entries = opened.infolist()
    if len(entries) > limits.entries:
        raise InvalidArchive(f"{len(entries):,} entries; at most {limits.entries:,} are allowed")
    seen: dict[str, tuple[str, str]] = {}
    for entry in entries:
        _check_kind(entry)
        _check_name(entry, seen)
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > limits.bytes:
        raise InvalidArchive(f"{unpacked:,} bytes when unpacked; at most {limits.bytes:,} are allowed")
    if unpacked > RATIO_FROM and unpacked > limits.ratio * max(packed, 1):
        raise InvalidArchive(f"{packed:,} bytes that unpack to {unpacked:,}: more than {limits.ratio} times as many")
    _check_offsets(entries, stream, opened.start_dir)
    return [entry for entry in entries if not entry.is_dir()]


def _check_kind(entry: zipfile.ZipInfo) -> None:
    name = ascii(entry.filename)[:80]
    if entry.flag_bits & 0x41:
        raise InvalidArchive(f"{name} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidArchive(f"{name} has compression method {entry.compress_type}; stored and deflated are allowed")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR) > entry.is_dir():
        raise InvalidArchive(f"{name} is a link, a device or another special file")
    if entry.is_dir() and entry.file_size:
        raise InvalidArchive(f"{name} is a folder with content")


def _check_name(entry: zipfile.ZipInfo, seen: dict[str, tuple[str, str]]) -> None:
    """Refuse names that leave the folder, that differ between systems, or that appear twice.

    seen: folded name to (name, kind), for every entry and every folder above one; kind is `file`, `folder`, or
    `above` for a folder that has no entry of its own so far.
    """
    shown = ascii(entry.orig_filename)[:80]
    if entry.filename != entry.orig_filename:
        raise InvalidArchive(f"{shown} has a second name, {ascii(entry.filename)[:80]}")
    path = check_path(entry.filename.removesuffix("/"))
    segments = path.split("/")
    if "\\" in path or _DRIVE.match(path) or any(unicodedata.category(letter)[0] == "C" for letter in path):
        raise InvalidArchive(f"{shown} has a backslash, a drive or a control character")
    if len(path.encode()) > MAX_PATH or any(len(segment.encode()) > MAX_SEGMENT for segment in segments):
        raise InvalidArchive(f"{shown}…: the name is too long")
    for depth in range(1, len(segments)):
        upto = "/".join(segments[:depth])
        if seen.setdefault(_folded(upto), (upto, "above")) not in ((upto, "above"), (upto, "folder")):
            raise InvalidArchive(f"{shown} is below a path that is also a file, or that has two spellings")
    kind = "folder" if entry.is_dir() else "file"
    former = seen.get(_folded(path))
    if former is not None and (kind == "file" or former != (path, "above")):
        raise InvalidArchive(f"{shown} appears twice, as {ascii(former[0])[:80]}")
    seen[_folded(path)] = (path, kind)


def _folded(path: str) -> str:
    """The same text for names that some file systems cannot keep apart: ignores case and normal form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _check_offsets(entries: list[zipfile.ZipInfo], stream: IO[bytes], end: int) -> None:
    """Refuse entries that overlap each other or the directory: the same bytes would be unpacked many times."""
    free = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < free:
            raise InvalidArchive(f"{ascii(entry.filename)[:80]} overlaps another entry")
        stream.seek(entry.header_offset)
        _, name, extra = _LOCAL.unpack(stream.read(_LOCAL.size))
        free = entry.header_offset + _LOCAL.size + name + extra + entry.compress_size
    if free > end:
        raise InvalidArchive("an entry overlaps the central directory")


def _write(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, left: int, deadline: Deadline) -> int:
    """Unpack one file and return its size; zipfile checks its CRC at the end."""
    target = safe_join(folder, entry.filename)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, atomic_write(target) as stream:
        while block := source.read(BLOCK):
            deadline.check(f"unpacking {ascii(entry.filename)[:80]}")
            written += len(block)
            if written > min(entry.file_size, left):
                raise InvalidArchive(f"{ascii(entry.filename)[:80]} is larger than its header says")
            stream.write(block)
        if written != entry.file_size:
            raise InvalidArchive(f"{ascii(entry.filename)[:80]} is shorter than its header says")
    return written
