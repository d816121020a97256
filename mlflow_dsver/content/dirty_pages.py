"""Flushes dirty pages before a file is read, so that each later change updates mtime and ctime.

Linux updates mtime and ctime when a program begins to change a file. Two kinds of change continue after that:

- Memory maps (numpy.memmap, LMDB, SQLite in WAL mode). The first write to a clean page is a fault, which updates the
  timestamps; further writes to that page update nothing until it is written back. So dirty pages are flushed: the
  kernel write-protects each page before it writes it out, and the next write is a fault again.
- One long write(2) updates the timestamps when it begins, and its bytes arrive until it returns. On ext and btrfs
  reading does not wait for it, lseek(SEEK_HOLE) does; on XFS reading itself does.

Hence the order in `parallel_reading`: wait for writers, stat, flush, read, stat again. A change before the flush that
did not update the timestamps is flushed and read; each later one updates them, which the second stat or a later one
shows.

This depends on how a file system treats a fault and a flush. It was read in the sources of those below, and tested
with maps that stay open on ext2, ext4 (also data=journal, nodelalloc with lazytime), XFS and btrfs, Linux 6.18.
Elsewhere a stat proves nothing and no digest is cached: tmpfs never updates timestamps for a map; overlayfs does not
flush through sync_file_range and may be on tmpfs; a FUSE, 9p or network file system depends on its server and other
clients; other systems than Linux update timestamps at writeback only. Files of read-only formats cannot be written.

sync_file_range is used where it suffices: it costs 5 microseconds for a clean file, because it neither commits a
journal nor flushes the disk's cache as fdatasync does (3 ms a file on ext4). Not covered: programs that write to the
disk below the file system, devices that write to mapped memory by themselves (RDMA, O_DIRECT into a map), and a
clock that is set back to the very nanosecond.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import sync_open_file_system
from mlflow_dsver.content.open_folder import OpenFolder, opened
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.text import os_text

Flush = Callable[[int], bool]
"""Writes out the dirty pages of an open file; False when that failed."""

RECENT = 60_000_000_000
"""Nanoseconds: files that changed within them may have dirty pages by the thousand; the kernel writes after 35 s."""

MANY = 500
"""Recently changed files from which on the file system is flushed once before each of them is: 50,000 new files of
4 KiB on ext4 took 17 s one by one and below 1 s together."""

_RANGE_ALL = 7  # wait for writeback under way, write dirty pages, wait again


def flush_range(descriptor: int) -> bool:
    """Write out the dirty pages of a file and nothing else."""
    call = _libc().sync_file_range
    return bool(call(descriptor, 0, 0, _RANGE_ALL) == 0)


def flush_data(descriptor: int) -> bool:
    """fdatasync, for btrfs: its pages that are being compressed are not waited for by sync_file_range."""
    try:
        os.fdatasync(descriptor)
    except OSError:
        return False
    return True


def never_dirty(_descriptor: int) -> bool:
    """Nothing to flush, as the file system is read-only."""
    return True


FILE_SYSTEMS: Mapping[int, Flush] = {
    0xEF53: flush_range,  # ext2, ext3, ext4
    0x58465342: flush_range,  # XFS
    0x9123683E: flush_data,  # btrfs
    0x73717368: never_dirty,  # squashfs
    0xE0F5E1E2: never_dirty,  # erofs
    0x9660: never_dirty,  # ISO 9660
}
"""By the numbers of linux/magic.h: where an equal stat proves equal bytes, and how to flush before the stat."""


class DirtyPages:
    """Waits for writers of one folder's files and flushes dirty pages.

    trusted: the device whose timestamps are trusted without proof, by the setting TRUST_DATES; None for none.
    """

    def __init__(self, trusted: int | None = None) -> None:
        self._trusted = trusted
        self._flush: dict[int, Flush | None] = {}

    def provable(self, descriptor: int, device: int) -> bool:
        """Whether an equal stat can prove equal bytes on a device. descriptor: of any file on it."""
        return device == self._trusted or self._method(descriptor, device) is not None

    def wait_for_writer(self, descriptor: int, device: int) -> None:
        """Wait until a write(2) in progress has returned. Afterwards the file's position is 0."""
        if self._method(descriptor, device) is None:
            return
        with suppress(OSError):  # an empty file
            os.lseek(descriptor, 0, os.SEEK_HOLE)
            os.lseek(descriptor, 0, os.SEEK_SET)

    def flush(self, descriptor: int, device: int) -> bool:
        """Write out dirty pages; whether each later change updates the file's timestamps."""
        method = self._method(descriptor, device)
        if method is None:
            return device == self._trusted
        return method(descriptor)

    def _method(self, descriptor: int, device: int) -> Flush | None:
        try:
            return self._flush[device]
        except KeyError:
            found = self._flush[device] = FILE_SYSTEMS.get(file_system(descriptor))
            return found


def flush_many(folder: int, recent: int) -> None:
    """Flush many recently changed files together, which is faster than one by one."""
    if recent >= MANY and FILE_SYSTEMS.get(file_system(folder)) not in (None, never_dirty):
        with suppress(OSError):
            sync_open_file_system(folder)


def trusted_device(folder: OpenFolder) -> int | None:
    """The device of a folder, if the setting TRUST_DATES names the folder or one above it; None otherwise."""
    named = settings.setting("TRUST_DATES")
    for each in filter(None, map(str.strip, (named or "").split(os.pathsep))):
        if not os.path.isabs(each):  # noqa: PTH117
            raise SettingsError(
                settings.PREFIX + "TRUST_DATES",
                expected=f"absolute paths of folders with {os.pathsep!r} between them",
                got=ascii(each)[:80],
            )
        above = os.path.realpath(os_text(each))
        if os.path.commonpath((above, folder.real)) == above:
            return folder.status.st_dev
    return None


def dates_prove(folder: Path) -> bool:
    """Whether each change of a file in this folder, if nobody has it mapped yet, will update its timestamps.

    Raises ContentError for a folder that cannot be opened.
    """
    with opened(folder) as mapped:
        return DirtyPages(trusted_device(mapped)).provable(mapped.descriptor, mapped.status.st_dev)


def file_system(descriptor: int) -> int:
    """The magic number of the file system of an open file (linux/magic.h); 0 when it is unknown."""
    if sys.platform != "linux":
        return 0
    try:
        import ctypes

        call = _libc().fstatfs
    except (AttributeError, ImportError, OSError):  # a Python or a C library without these calls
        return 0
    buffer = ctypes.create_string_buffer(512)  # struct statfs, whose first member is the type, takes 120 bytes
    return int(ctypes.c_ulong.from_buffer(buffer).value) if call(descriptor, buffer) == 0 else 0


@cache
def _libc() -> Any:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.fstatfs.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    return libc
