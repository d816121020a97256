"""Which objects held the right bytes, and what their stat was then, so that an untouched object need not be read.

An object is believed without being read when inode, size, mtime and ctime are those that it had right after its bytes
were hashed here and flushed. Nothing depends on a clock being right: a stat is compared for equality, and a ctime
cannot be set. An object that was edited, replaced, linked or put back from elsewhere has another stat, and is read.

A stat is remembered only where a later change must move it: on the file systems of `content.dirty_pages` (or where
the user trusts dates), and not before the clock of the file system itself has gone past the object's ctime.

One file a fan-out folder, `verified/ab`, in blocks with a checksum each, appended. It is for speed alone: what is
missing, damaged or of another layout means that objects are read.
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
"""Bytes of one file that are read at most: four million objects in one fan-out folder."""

SETTLE = 0.05
"""Seconds that are waited at most for the clock of the file system to go on; most go on within 0.01."""

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
    """The objects of a store whose bytes were once hashed to their name. Its own state makes no method raise."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._folder = store.root / "verified"
        self._known: dict[str, Known] = {}

    def unchanged(self, address: str, status: os.stat_result) -> bool:
        """Whether the object at `ab/<digest>`, with that stat (not of what a link points to), is as it was hashed."""
        digest = address[3:]
        return self._of(digest[:2]).get(bytes.fromhex(digest)) == _stamp(status)

    def untouched(self, digests: Iterable[str]) -> set[str]:
        """Those of many objects that `unchanged` says so of; in a third of the time that it takes to ask for each."""
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
                continue  # with the next one
            else:
                return

    def remember(self, objects: Iterable[tuple[str, os.stat_result]], clock: int) -> None:
        """Note the stat of objects (by digest) whose bytes were just hashed and are on the disk.

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
        """Forget the objects of a fan-out folder that are not among the kept digests. OSError passes."""
        known = self._of(prefix)
        left = {digest: found for digest, found in known.items() if digest.hex() in kept}
        if len(left) < len(known):
            self._rewrite(prefix, left)

    def _of(self, prefix: str) -> Known:
        if prefix not in self._known:
            self._known[prefix] = self._read(prefix)[0]
        return self._known[prefix]

    def _read(self, prefix: str) -> tuple[Known, bool, int]:
        """What is known of a fan-out folder, whether the file is sound to its end, and how many rows it has."""
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
            os.write(descriptor, _encoded(fresh))  # a short write fails its checksum
        finally:
            os.close(descriptor)

    def _rewrite(self, prefix: str, known: Known) -> None:
        self._known[prefix] = known
        with atomic_write(self._folder / prefix, durable=False) as stream:
            stream.write(_encoded(known))


def file_system_clock(folder: Path, after: int = 0) -> int:
    """What time it is to the file system of a folder that may be written to, in nanoseconds.

    after: a time that it should be past; that is waited for, for SETTLE seconds at most. OSError passes.
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
    """Read an object now: its stat if it has the right bytes, all of them on the disk; None for any other."""
    from blake3 import blake3

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        DirtyPages().wait_for_writer(descriptor, os.fstat(descriptor).st_dev)
        flush(descriptor)  # a page that somebody mapped and wrote to could change again without a trace
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
    """Inode, size, mtime and ctime; no device, since the number of one differs between machines that share a disk."""
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
    """The rows of the block at `start`; None when it is cut off or damaged."""
    from blake3 import blake3

    with suppress(struct.error):
        magic, count, checksum = _HEAD.unpack_from(content, start)
        block = content[start + _HEAD.size : start + _HEAD.size + count * _ROW.size]
        if magic == _MAGIC and count and len(block) == count * _ROW.size and blake3(block).digest(16) == checksum:
            return block
    return None
