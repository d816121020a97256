"""A cache of verified objects with their stat, so that an unchanged object need not be read again.

An object is trusted without being read when inode, size, mtime and ctime equal those recorded right after its bytes
were hashed and flushed. No clock needs to be correct: a stat is compared for equality, and a ctime cannot be set. An
object that was edited, replaced, linked or restored from elsewhere has another stat, and is read.

A stat is recorded only where a later change must alter it: on the file systems of `content.dirty_pages` (or where the
user chose to trust dates), and only after the file system's own clock has passed the object's ctime.

One file per fan-out folder, `verified/ab`, appended in blocks with a checksum each. It only saves time: where an
entry is missing, damaged or of another layout, the objects are read.
"""

from __future__ import annotations

import logging
import os
import stat
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from mlflow_dsver.content.atomic_files import atomic_write, flush
from mlflow_dsver.content.dirty_pages import DirtyPages, dates_prove
from mlflow_dsver.errors import DsverError
from mlflow_dsver.providers.local.store import Store

MAX_FILE = 256 << 20
"""Maximum bytes that are read of one file: four million objects in one fan-out folder."""

SETTLE = 0.05
"""Maximum seconds to wait until the file system's clock advances; most advance within 0.01."""

_MAGIC = b"dsv1"
_HEAD = struct.Struct("<4sI16s")  # magic, rows, checksum
_ROW = struct.Struct("32s32s")  # digest, stamp
_ROWS = 65_536
_BLOCK = 1 << 20
_pack = struct.Struct("<QQqq").pack
_log = logging.getLogger(__name__)

Known = dict[bytes, bytes]
"""Digest to stamp."""


class VerifiedObjects:
    """The objects of a store whose bytes were verified. Damage to the cache files raises nothing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.root / "verified"
        self._known: dict[str, Known] = {}

    def unchanged(self, address: str, status: os.stat_result) -> bool:
        """Whether the object at `ab/<digest>`, with that stat (of a link itself, not of its target), is as it was
        hashed.
        """
        digest = address[3:]
        return self._of(digest[:2]).get(bytes.fromhex(digest)) == _stamp(status)

    def untouched(self, digests: Iterable[str]) -> set[str]:
        """The digests for which `unchanged` is true, in a third of the time of separate calls."""
        found: set[str] = set()
        for prefix, group in groupby(sorted(digests), itemgetter(slice(0, 2))):
            try:
                folder = os.open(self._store.root / "objects" / prefix, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                self._look(folder, self._of(prefix), group, found)
            finally:
                os.close(folder)
        return found

    def _look(self, folder: int, known: Known, digests: Iterator[str], found: set[str]) -> None:
        stat_, from_hex = os.stat, bytes.fromhex
        while True:
            try:
                for digest in digests:
                    status = stat_(digest, dir_fd=folder, follow_symlinks=False)
                    if known.get(from_hex(digest)) == _stamp(status):
                        found.add(digest)
            except OSError:
                continue  # with the next digest: the iterator keeps its position
            else:
                return

    def remember(self, objects: Iterable[tuple[str, os.stat_result]], clock: int) -> None:
        """Record the stat of objects (by digest) whose bytes were just hashed and flushed.

        clock: time of the file system, in nanoseconds, from before the stat was taken; see `file_system_clock`.
        Objects that are not older than that are left out.
        """
        if not _dates_prove(self._store.root):
            return
        settled = sorted(
            (digest, _stamp(status))
            for digest, status in objects
            if stat.S_ISREG(status.st_mode) and status.st_ctime_ns < clock
        )
        try:
            self._folder.mkdir(exist_ok=True)
            for prefix, rows in groupby(settled, lambda row: row[0][:2]):
                self._append(prefix, {bytes.fromhex(digest): known for digest, known in rows})
        except OSError as error:
            _log.info("the list of verified objects %s is not written: %s", self._folder, error)

    def forget(self, prefix: str, kept: set[str]) -> None:
        """Remove the objects of a fan-out folder that are not in `kept`. OSError propagates."""
        known = self._of(prefix)
        left = {digest: found for digest, found in known.items() if digest.hex() in kept}
        if len(left) < len(known):
            self._rewrite(prefix, left)

    def _of(self, prefix: str) -> Known:
        if prefix not in self._known:
            self._known[prefix] = self._read(prefix)[0]
        return self._known[prefix]

    def _read(self, prefix: str) -> tuple[Known, bool, int]:
        """The entries of a fan-out folder, whether the file is intact to its end, and its number of rows."""
        known: Known = {}
        rows = 0
        try:
            with (self._folder / prefix).open("rb") as stream:
                content = stream.read(MAX_FILE)
        except FileNotFoundError:
            return known, True, 0
        except OSError as error:
            _log.info("the list of verified objects %s is not used: %s", self._folder / prefix, error)
            return known, False, 0
        start = 0
        while start < len(content):
            block = _block(content, start)
            if block is None:
                return known, False, rows
            known.update(_ROW.iter_unpack(block))
            rows += len(block) // _ROW.size
            start += _HEAD.size + len(block)
        return known, True, rows

    def _append(self, prefix: str, fresh: Known) -> None:
        known, sound, rows = self._read(prefix)
        known |= fresh
        self._known[prefix] = known
        if not sound or rows + len(fresh) > 2 * len(known) + 64:
            self._rewrite(prefix, known)
            return
        descriptor = os.open(self._folder / prefix, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.write(descriptor, _encoded(fresh))  # a short write fails its checksum and is ignored by readers
        finally:
            os.close(descriptor)

    def _rewrite(self, prefix: str, known: Known) -> None:
        self._known[prefix] = known
        with atomic_write(self._folder / prefix, durable=False) as stream:
            stream.write(_encoded(known))


def file_system_clock(folder: Path, after: int = 0) -> int:
    """The current time of the file system of a writable folder, in nanoseconds.

    after: wait, for SETTLE seconds at most, until the clock is past this time. OSError propagates.
    """
    probe = folder / "clock"
    probe.touch()
    begun = time.monotonic()
    while (now := _touched(probe)) <= after and time.monotonic() - begun < SETTLE:
        time.sleep(0.001)
    return now


def _dates_prove(folder: Path) -> bool:
    try:
        return dates_prove(folder)
    except DsverError:
        return False


def read_if_right(path: str, digest: str) -> os.stat_result | None:
    """Read an object now: its stat if its bytes match the digest and are on the disk; None otherwise."""
    from blake3 import blake3

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        DirtyPages().wait_for_writer(descriptor, os.fstat(descriptor).st_dev)
        flush(descriptor)  # else a page written through a memory map could change without a new mtime
        before = os.fstat(descriptor)
        hasher = blake3()
        while stat.S_ISREG(before.st_mode) and (part := os.read(descriptor, _BLOCK)):
            hasher.update(part)
        after = os.fstat(descriptor)
        return after if hasher.hexdigest() == digest and _stamp(before) == _stamp(after) else None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _touched(probe: Path) -> int:
    os.utime(probe)
    return probe.stat().st_ctime_ns


def _stamp(status: os.stat_result) -> bytes:
    """Inode, size, mtime and ctime; not the device, whose number differs between machines that share a disk."""
    return _pack(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _encoded(known: Known) -> bytes:
    from blake3 import blake3

    rows = [digest + found for digest, found in known.items()]
    blocks = []
    for start in range(0, len(rows), _ROWS):
        block = b"".join(rows[start : start + _ROWS])
        blocks.append(_HEAD.pack(_MAGIC, len(block) // _ROW.size, blake3(block).digest(16)) + block)
    return b"".join(blocks)


def _block(content: bytes, start: int) -> bytes | None:
    """The rows of the block at `start`; None when it is truncated or damaged."""
    from blake3 import blake3

    with suppress(struct.error):
        magic, count, checksum = _HEAD.unpack_from(content, start)
        block = content[start + _HEAD.size : start + _HEAD.size + count * _ROW.size]
        if magic == _MAGIC and count and len(block) == count * _ROW.size and blake3(block).digest(16) == checksum:
            return block
    return None
