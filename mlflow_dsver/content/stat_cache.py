"""Remembers the digests of files that were hashed, so that an unchanged folder costs its stat calls and little more.

An entry is believed when device, inode, size, mtime and ctime of the file are those that it was hashed with. An
edit in place whose mtime was set back has changed ctime, which nobody can set. Not remembered are files whose mtime
or ctime was younger than `YOUNG` when their hashing began, as they could change again within the clock's grain, and
files on file systems where a change need not move them (`dirty_pages`), such as tmpfs.

Each hashed folder has one file here, replaced whole: its files' paths, stamps and digests, sorted by path, in blocks
with a checksum each. So nobody waits for a lock, reading writes nothing, a kill or a power cut leaves the former
file or one whose checksum fails, and a damaged, foreign, read-only or full place means slower work and never an
error. (Rows in SQLite took five times as long to read, and need locks, which network file systems may lack.) It is
for speed alone: a check that must be sure hashes without it.
"""

from __future__ import annotations

import logging
import os
import struct
import time
from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import IO

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import atomic_write
from mlflow_dsver.content.file_cache import FileCache

YOUNG = 3_000_000_000
"""Nanoseconds: the grain of the coarsest clock of a file system in use (FAT's is 2 s), and some."""

UNUSED = 90 * 86_400
"""Seconds after which a folder that was not hashed again is forgotten."""

Row = tuple[str, tuple[bytes, bytes]]
"""A file's path below its folder, and with it the stamp of its stat and its digest as 32 bytes."""

_MAGIC = b"mlflow-dsver stat cache 2\n"  # 1 remembered files whose dirty pages had not been flushed
_SUFFIX = ".stat"
_HEAD = struct.Struct("<II16s")  # rows, bytes of the joined paths, checksum
_ROW = struct.Struct("40s32s")
_ROWS = 4096
_MAX_PATHS = _ROWS * 16_384
_pack = struct.Struct("<QQQqq").pack
_log = logging.getLogger(__name__)


def stamp(status: os.stat_result) -> bytes:
    """Device, inode, size, mtime and ctime, packed: equal stamps mean an untouched file."""
    return _pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_young(status: os.stat_result, now: int) -> bool:
    """Whether the file changed so shortly before `now` (nanoseconds) that a further change might not show."""
    return now - max(status.st_mtime_ns, status.st_ctime_ns) < YOUNG


class StatCache:
    """Digests of files, by folder, in a folder of its own. No method raises because of the cache's state.

    path: the cache's folder; made when first needed. read_only: nothing is ever written.
    Only files that belong to the user are believed, since whoever writes one decides what a digest is.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only

    def rows(self, folder: bytes) -> Iterator[Row]:
        """What is remembered of a folder (by its real path), sorted by path; a block at a time."""
        place = self._place(folder)
        try:
            with place.open("rb") as stream:
                self._check(stream)
                while block := _block(stream):
                    yield from block
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            _log.info("the cache of digests %s is not used: %s", place, error)

    def save(self, folder: bytes, fresh: Iterable[Row], gone: Collection[str] = ()) -> None:
        """Remember fresh rows (in any order) in place of what was known under their paths, and forget gone paths."""
        if self.read_only:
            return
        place = self._place(folder)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with atomic_write(place, mode=0o600, durable=False) as stream:
                stream.write(_MAGIC)
                rows = _joined(self.rows(folder), sorted(fresh), frozenset(gone))
                while block := list(islice(rows, _ROWS)):
                    stream.write(_encoded(block))
            FileCache(self.path, max_age=UNUSED, suffix=_SUFFIX).prune()
        except OSError as error:
            _log.info("the cache of digests %s is not written: %s", place, error)

    def touch(self, folder: bytes) -> None:
        """Note that a folder was hashed again; once a day."""
        place = self._place(folder)
        try:
            if not self.read_only and time.time() - place.stat().st_mtime > 86_400:
                os.utime(place)
        except OSError:
            pass

    def _place(self, folder: bytes) -> Path:
        from blake3 import blake3

        return self.path / (blake3(folder).hexdigest()[:32] + _SUFFIX)

    def _check(self, stream: IO[bytes]) -> None:
        if hasattr(os, "geteuid") and os.fstat(stream.fileno()).st_uid != os.geteuid():
            raise ValueError("it belongs to another user")
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("it is of another version, or damaged")


def default_cache(*, read_only: bool = False) -> StatCache:
    """The user's cache, which all folders and processes share."""
    return StatCache(settings.home() / "cache" / "stat", read_only=read_only)


def _joined(old: Iterable[Row], fresh: list[Row], gone: frozenset[str]) -> Iterator[Row]:
    """Both, sorted by path; a fresh row wins over an old one, an old one that is gone is left out."""
    if not fresh:
        return (row for row in old if row[0] not in gone)
    known = {row[0] for row in fresh} | gone
    return merge(fresh, (row for row in old if row[0] not in known), key=itemgetter(0))


def _encoded(rows: list[Row]) -> bytes:
    from blake3 import blake3

    paths = "\0".join([row[0] for row in rows]).encode()
    content = paths + b"".join([part for _, pair in rows for part in pair])
    return _HEAD.pack(len(rows), len(paths), blake3(content).digest(16)) + content


def _block(stream: IO[bytes]) -> Iterator[Row] | None:
    """The next rows; None at the end. Raises ValueError for a block that is cut off or damaged."""
    from blake3 import blake3

    head = stream.read(_HEAD.size)
    if not head:
        return None
    if len(head) < _HEAD.size:
        raise ValueError("it is cut off")
    count, length, checksum = _HEAD.unpack(head)
    if count > _ROWS or length > _MAX_PATHS:
        raise ValueError("it is damaged")
    content = stream.read(length + count * _ROW.size)
    if len(content) != length + count * _ROW.size or blake3(content).digest(16) != checksum:
        raise ValueError("it is damaged")
    paths = content[:length].decode().split("\0")
    return zip(paths, _ROW.iter_unpack(memoryview(content)[length:]), strict=True)
