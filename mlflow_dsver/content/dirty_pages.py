"""Makes sure that a change of a file from now on moves its dates, so that an equal stat may stand in for its bytes.

Linux moves mtime and ctime of a file when a program begins to change it, and two changes outlast that moment:

- Memory maps (numpy.memmap, LMDB, SQLite in WAL mode). The first write to a clean page is a fault, which moves the
  dates; further writes to that page move nothing until it was written back. So dirty pages are flushed: the kernel
  write-protects each page before it writes it out, and the next write is a fault again.
- One long write(2) moves the dates when it begins, and its bytes arrive until it returns. On ext and btrfs reading
  does not wait for it, lseek(SEEK_HOLE) does; on XFS reading itself does.

Hence the order in `reading`: wait for writers, stat, flush, read, stat again. A change before the flush that left
dates alone is flushed and read; each later one moves the dates, and shows in the second stat or in a later one.

This rests on how a file system treats a fault and a flush. It was read in the sources of those below, and tried with
maps that stay open on ext2, ext4 (also data=journal, nodelalloc with lazytime), XFS and btrfs, Linux 6.18. Elsewhere
a stat proves nothing and none is remembered: tmpfs never moves dates for a map; overlayfs does not flush through
sync_file_range and may lie on tmpfs; a FUSE, 9p or network file system depends on its server and other clients; other
systems than Linux move dates at writeback only. Files of read-only formats cannot be written at all.

Flushing is sync_file_range where that is enough: it costs 5 microseconds for a clean file, because it neither commits
a journal nor empties the disk's cache as fdatasync does (3 ms a file on ext4). Beyond reach: programs that write to
the disk below the file system, devices that write to mapped memory by themselves (RDMA, O_DIRECT into a map), and a
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
from mlflow_dsver.os_names import os_text

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
    """Nothing to flush, as the format is written once as a whole."""
    return True


FILE_SYSTEMS: Mapping[int, Flush] = {
    0xEF53: flush_range,  # ext2, ext3, ext4
    0x58465342: flush_range,  # XFS
    0x9123683E: flush_data,  # btrfs
    0x73717368: never_dirty,  # squashfs
    0xE0F5E1E2: never_dirty,  # erofs
    0x9660: never_dirty,  # ISO 9660
}
"""By the numbers of linux/magic.h: where an equal stat proves equal bytes, and what must be done before the stat."""


class DirtyPages:
    """Waits for and flushes what others are writing to the files of one folder.

    trusted: the device whose dates count without proof, as the user said so; None for none.
    """

    def __init__(self, trusted: int | None = None) -> None:
        self._trusted = trusted
        self._flush: dict[int, Flush | None] = {}

    def provable(self, descriptor: int, device: int) -> bool:
        """Whether dates of files there can stand in for their bytes at all. descriptor: of any file on the device."""
        return device == self._trusted or self._method(descriptor, device) is not None

    def wait_for_writer(self, descriptor: int, device: int) -> None:
        """Wait until a write(2) that is under way has returned. The file is at its beginning afterwards."""
        if self._method(descriptor, device) is None:
            return
        with suppress(OSError):  # an empty file has no place to seek to
            os.lseek(descriptor, 0, os.SEEK_HOLE)
            os.lseek(descriptor, 0, os.SEEK_SET)

    def flush(self, descriptor: int, device: int) -> bool:
        """Write out dirty pages; whether each change from now on moves the file's dates."""
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
    """Before many recently changed files are read: flush them together. It is for speed alone."""
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
    """Whether files of this folder that nobody has mapped yet will show each change in their dates.

    Raises ContentError for a folder that cannot be opened.
    """
    with opened(folder) as held:
        return DirtyPages(trusted_device(held)).provable(held.descriptor, held.status.st_dev)


def file_system(descriptor: int) -> int:
    """The number by which Linux calls the file system of an open file; 0 when it cannot be known."""
    if sys.platform != "linux":
        return 0
    try:
        import ctypes

        call = _libc().fstatfs
    except (AttributeError, ImportError, OSError):  # a Python or a C library without what it takes
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
