"""Cache of file digests by stat, so that hashing an unchanged folder costs little more than its stat calls.

An entry is valid while device, inode, size, mtime and ctime of the file are those that it was hashed with. An edit
in place whose mtime was set back has another ctime, which cannot be set. Files are not cached when their mtime or
ctime was younger than `YOUNG` when hashing began, as they could change again within the clock's resolution, nor on
file systems where a change need not show in the stat (`dirty_pages`), such as tmpfs.

Each hashed folder has one file here, replaced as a whole: paths, stamps and digests, sorted by path, in blocks with
a checksum each. So there are no locks, reading writes nothing, a kill or a power cut leaves the previous file or one
whose checksum fails, and a damaged, foreign, read-only or full cache is slower and never an error. (Rows in SQLite
took five times as long to read, and need locks, which network file systems may lack.) A check that must be certain
hashes without this cache.
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
"""Nanoseconds: more than the coarsest timestamp resolution of a file system in use (FAT: 2 s)."""

UNUSED = 90 * 86_400
"""Seconds after which a folder that was not hashed again is removed from the cache."""

Row = tuple[str, tuple[bytes, bytes]]
"""A file's path below its folder, and the stamp of its stat and its digest as 32 bytes."""

_MAGIC = b"mlflow-dsver stat cache 2\n"  # 1 had files whose dirty pages had not been flushed
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
    """Digests of files, by folder. No method raises because of the state of the cache.

    path: the cache's own folder, created when first needed. read_only: never write.
    Files of other users are ignored, since whoever writes one decides what a digest is.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only

    def rows(self, folder: bytes) -> Iterator[Row]:
        """The cached rows of a folder (its real path), sorted by path; read block by block."""
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

    def save(self, folder: bytes, fresh: Iterable[Row], deleted: Collection[str] = ()) -> None:
        """Add or replace rows (in any order) and remove the paths in `gone`."""
        if self.read_only:
            return
        place = self._place(folder)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with atomic_write(place, mode=0o600, durable=False) as stream:
                stream.write(_MAGIC)
                rows = _joined(self.rows(folder), sorted(fresh), frozenset(deleted))
                while block := list(islice(rows, _ROWS)):
                    stream.write(_encoded(block))
            FileCache(self.path, max_age=UNUSED, suffix=_SUFFIX).prune()
        except OSError as error:
            _log.info("the cache of digests %s is not written: %s", place, error)

    def touch(self, folder: bytes) -> None:
        """Mark a folder as used, at most once a day."""
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
    """The user's cache, shared by all folders and processes."""
    return StatCache(settings.home() / "cache" / "stat", read_only=read_only)


def _joined(old: Iterable[Row], fresh: list[Row], deleted: frozenset[str]) -> Iterator[Row]:
    """Both, sorted by path; a fresh row replaces an old one, rows in `gone` are dropped."""
    if not fresh:
        return (row for row in old if row[0] not in deleted)
    known = {row[0] for row in fresh} | deleted
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
