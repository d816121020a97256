"""A folder that is kept open while it is read, and the errors that are collected meanwhile.

Deployments switch a symbolic link such as `current` from one folder to another. Whoever opens files by that path gets
some of each. So the folder is opened once and everything below it is opened relative to its descriptor; links to
folders inside it are checked again at the end.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from threading import Lock

from mlflow_dsver.content.stat_cache import stamp
from mlflow_dsver.errors import ContentError
from mlflow_dsver.model.refs import nearest
from mlflow_dsver.text import one_line, os_text

MOVED = "replaced while the folder was read"
MAX_NAMED = 1000
"""Paths in `ContentError.paths` at most; the message names the first few and the total."""

_SHOWN = 5
_NEIGHBOURS = 1000  # folders that are searched for a similar name
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0)
_Identity = tuple[int, int]
_REASONS = {
    errno.EACCES: "no permission to read it",
    errno.EPERM: "no permission to read it",
    errno.ELOOP: "a circular symbolic link",
    errno.ENOENT: "removed while the folder was read",
    errno.ENOTDIR: "replaced while the folder was read",
}


class WalkErrors:
    """Collects paths and reasons, from several threads, for one ContentError."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reasons: list[tuple[str, str]] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, path: str, reason: str) -> None:
        """Note a path and what is wrong with it."""
        with self._lock:
            self._count += 1
            if len(self._reasons) < MAX_NAMED:
                self._reasons.append((path, reason))

    def raise_any(self, folder: object) -> None:
        """Raise ContentError when an error was added."""
        if not self:
            return
        reasons = sorted(self._reasons)
        shown = ", ".join(f"'{one_line(path)}' ({reason})" for path, reason in reasons[:_SHOWN])
        more = f" and {self._count - _SHOWN:,} more" if self._count > _SHOWN else ""
        raise ContentError(
            f"{one_line(folder)} cannot be read faithfully: {shown}{more}",
            paths=tuple(path for path, _ in reasons),
            tip="fix these paths, or exclude them by a pattern (.dsverignore, or exclude)",
        )


def reason(error: OSError) -> str:
    """A short description of why a file could not be opened or read."""
    return _REASONS.get(error.errno or 0) or one_line(error.strerror or error, 80)


class OpenFolder:
    """A folder and its descriptor. path: as it was given. real: its path without links, as OS text."""

    def __init__(self, path: Path, real: str, descriptor: int) -> None:
        self.path = path
        self.real = real
        self.descriptor = descriptor
        self.status = os.fstat(descriptor)
        self._links: list[tuple[str, bytes, _Identity]] = []

    def open_below(self, relative: str) -> int:
        """The descriptor of a subfolder. OSError passes through."""
        return os.open(os_text(relative), _FLAGS, dir_fd=self.descriptor)

    def note_link(self, relative: str, link: os.stat_result, target: os.stat_result) -> None:
        """Remember a link to a folder that was followed."""
        self._links.append((relative, stamp(link), (target.st_dev, target.st_ino)))

    def check_links(self, problems: WalkErrors) -> None:
        """Add an error for each link that was replaced, or leads to another folder, since it was followed."""
        for relative, link, target in self._links:
            name = os_text(relative)
            try:
                same = stamp(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)) == link
                now = os.stat(name, dir_fd=self.descriptor)
            except OSError as error:
                problems.add(relative, reason(error))
                continue
            if not same or (now.st_dev, now.st_ino) != target:
                problems.add(relative, MOVED)


@contextmanager
def opened(folder: Path) -> Iterator[OpenFolder]:
    """The folder, kept open in the block. Raises ContentError when it is missing, a file, or may not be read."""
    real = os.path.realpath(check_folder(folder))
    try:
        descriptor = os.open(real, _FLAGS)
    except OSError as error:
        problems = WalkErrors()
        problems.add(".", reason(error))
        problems.raise_any(folder)
        raise
    try:
        yield OpenFolder(folder, real, descriptor)
    finally:
        os.close(descriptor)


def check_folder(folder: Path) -> Path:
    """Hand back a folder that exists, or raise ContentError."""
    try:
        mode = folder.stat().st_mode
    except PermissionError as error:
        raise ContentError(f"{one_line(folder)}: {reason(error)}", expected="a folder") from error
    except (OSError, ValueError) as error:
        raise ContentError(
            f"{one_line(folder)}: does not exist", expected="a folder", tip=_instead(folder)
        ) from error
    if not stat.S_ISDIR(mode):
        raise ContentError(f"{one_line(folder)} is a file", expected="a folder", tip="the folder that it is in")
    return folder


def _instead(folder: Path) -> str:
    """A tip for a folder that does not exist: folders with a similar name, else the absolute path."""
    names = []
    with suppress(OSError, ValueError), os.scandir(folder.parent) as found:
        names = sorted(each.name for each in islice(found, _NEIGHBOURS) if each.is_dir())
    near = ", ".join(one_line(folder.parent / name) for name in nearest(folder.name, names))
    return near or f"another path; this one means {one_line(folder.absolute())}"
