"""Files and folders that are written whole or not at all, durable folders, and paths that stay in their folder."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.manifests import check_path
from mlflow_dsver.text import one_line, os_text

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def safe_join(folder: Path, relative: str) -> Path:
    """`folder / relative`, where relative is a manifest's path; raises InvalidManifest for one that leaves it."""
    return folder.joinpath(*os_text(check_path(relative)).split("/"))


@contextmanager
def atomic_write(target: Path, *, mode: int | None = None, durable: bool = True) -> Iterator[IO[bytes]]:
    """A stream whose content becomes `target` when the block succeeds, and is discarded when it fails.

    Written beside the target, flushed to the disk, renamed, and the folder flushed; so a kill or a power cut leaves
    the previous file or the new one. mode: permission bits; None leaves them to the umask. durable: False does not
    flush, for a file that is checked when it is read and may be lost. OSError passes through.
    """
    beside = target.with_name(f".{target.name[:60]}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            if durable:
                flush(stream.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(target.parent)


@contextmanager
def atomic_folder(target: Path, *, durable: bool = True) -> Iterator[Path]:
    """A new folder whose content becomes `target` when the block succeeds, and is removed when it fails.

    target: does not exist or is an empty folder. The folder is created beside it and renamed. Where that cannot be
    (the target is a mount point, or its parent may not be written to), an existing target is filled in place and
    emptied on failure. durable: flush the names of the folder and its parents; files are the caller's to flush.
    OSError passes through.
    """
    if durable:
        make_folder(target.parent)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name[:60]}.{secrets.token_hex(6)}.tmp")
    if os.path.ismount(target):
        beside = target
    else:
        try:
            beside.mkdir()
        except PermissionError:
            if not target.is_dir():
                raise
            beside = target
    if beside == target and any(target.iterdir()):
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(target))
    try:
        yield beside
        if beside != target:
            beside.rename(target)
    except BaseException:
        with suppress(OSError):
            for child in beside.iterdir() if beside == target else [beside]:
                if child.is_dir() and not child.is_symlink():
                    shutil.rmtree(child, ignore_errors=True)
                else:
                    child.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(target.parent)


def remove_older(folder: Path, pattern: str, *, days: float) -> None:
    """Remove folders that match a pattern and were made long ago, such as a kill leaves."""
    for left in folder.glob(pattern):
        with suppress(OSError):
            if left.stat().st_mtime < time.time() - days * 86_400:
                shutil.rmtree(left, ignore_errors=True)


def check_new_folder(folder: Path) -> None:
    """Raise InvalidArgument for a path that exists and is not an empty folder. OSError passes through."""
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidArgument(
            f"{one_line(folder, 1000)} exists and is not an empty folder",
            expected="a new or an empty folder",
            done="Nothing was written",
            tip="another folder",
        )


def make_folder(folder: Path) -> None:
    """Create a folder and its missing parents, each of them durable before its child is."""
    missing = []
    parent = folder
    while not parent.is_dir():
        missing.append(parent)
        parent = parent.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush(descriptor)
    finally:
        os.close(descriptor)


def flush(descriptor: int) -> None:
    """Make what was written to a descriptor durable; on macOS fsync alone leaves it in the cache of the drive."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def sync_file_system(folder: Path) -> bool:
    """Make everything durable that was written to the file system of a folder; False where there is no such call.

    One call for any number of files, which is many times faster than one fsync each. Linux only (5.8 or newer
    reports failed writes through it). OSError when the file system reports that a write has failed.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        return sync_open_file_system(descriptor)
    finally:
        os.close(descriptor)


def sync_open_file_system(descriptor: int) -> bool:
    """`sync_file_system` of the file system of an open file or folder."""
    if sys.platform != "linux":
        return False
    import ctypes

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        return False
    if syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return True
