"""Notes which files this process opens for reading, for MLFLOW_DSVER_WATCH; `checks.undeclared_files` judges them.

An audit hook of the interpreter sees each `open` and `os.open` of Python code. It cannot be removed, so it is added
only when the setting requests it. For each file it adds the path to a set and does nothing else; the set is merged
into a larger one from time to time, where relative paths are completed. Paths are kept as they were opened: whether
they exist, are files and are data is decided at the end of a run. Beyond MAX_FILES paths or MAX_CHARACTERS of text,
files are counted and not kept.

A forked child goes on with a copy of its parent's paths, and writes new ones to memory that it shares with its
parent, as the files of a data loader are opened by worker processes. The hook sees no file that a library opens
without Python's `open`, and none of processes that are started anew (spawn, subprocess).

Imported while `import mlflow` is running: needs the standard library alone. Nothing here raises: an exception in an
audit hook would keep the file from being opened.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

MAX_FILES = 100_000
"""Paths that are kept at most; further ones are counted."""
MAX_CHARACTERS = 20_000_000
"""Characters of all kept paths together at most."""
BATCH = 50_000
"""Paths that the hook collects before they are merged, unless the working folder changes."""
SHARED_BYTES = 1 << 20
"""Memory that a forked child shares with its parent: room for some 10,000 paths. It is used as it is written."""
MAX_CHILDREN = 64
"""Forked children whose memory is kept at most; the oldest are merged and let go."""

_OWN = "mlflow_dsver"
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_SKIPPED = getattr(os, "O_DIRECTORY", 0)
_LENGTH = 8
"""Bytes at the beginning of shared memory: how many bytes of paths follow."""


@dataclass(frozen=True, slots=True)
class OpenedFiles:
    """What was seen until now. Paths are absolute OS text, with symbolic links as they were.

    read: opened for reading, whether that succeeded or not. written: opened for writing, or the new name of a rename,
    without having been read before. since: when the watch began, in seconds since the epoch. not_kept: how often a
    further file was opened when no room was left. children: forked children, whose files are included. cut: whether
    some child's files may be missing, for lack of room.
    """

    read: frozenset[str]
    written: frozenset[str]
    since: float
    not_kept: int = 0
    children: int = 0
    cut: bool = False


class _Watch:
    """The state of the hook; one for a process."""

    def __init__(self) -> None:
        self.recent: set[Any] = set()
        self.read: set[str] = set()
        self.written: set[str] = set()
        self.characters = 0
        self.not_kept = 0
        self.since = time.time()
        self.batch = BATCH
        self.regions: list[mmap.mmap] = []
        self.children = 0
        self.cut = False
        self.for_child: mmap.mmap | None = None
        self.for_parent: mmap.mmap | None = None
        self.lock = threading.RLock()

    def opened_otherwise(self, path: Any, mode: Any, flags: int) -> None:
        """A file that is opened for writing, or by `os.open`, which may be given a path relative to a descriptor."""
        if flags & _WRITES:
            self.note_written(path)
        elif not flags & _SKIPPED and not isinstance(path, int) and (_is_absolute(path) or not _called_by_us()):
            self.recent.add(path)
            if len(self.recent) > self.batch:
                self.merge()

    def note_written(self, path: Any) -> None:
        """Keep a path that is written, unless it was read before."""
        text = _text(path)
        if text is None or text in self.recent:
            return
        full = _full(text, None)
        if full not in self.recent and full not in self.read and len(self.written) < MAX_FILES:
            self.written.add(full)

    def renamed(self, arguments: tuple[Any, ...]) -> None:
        """The new name of a file or folder; raises nothing."""
        try:
            _, target, _, folder = arguments
            if folder == -1 or _is_absolute(target):
                self.note_written(target)
        except Exception:  # noqa: BLE001, S110  (see `_hook_of`)
            pass

    def merge(self) -> None:
        """Move the paths of the last events to those that are kept."""
        batch = list(self.recent)
        folder: str | None = None
        new = []
        for path in batch:
            if path in self.read:
                continue
            if type(path) is not str or path[:1] != "/":
                text = _text(path)
                if text is None:
                    continue
                folder = folder or os.getcwd()  # noqa: PTH109  (it costs each file that is opened)
                path = _full(text, folder)
            new.append(path)
        if new:
            self.keep(new)
        self.recent.difference_update(batch)

    def quietly_merge(self) -> None:
        """`merge`, without an exception."""
        try:
            self.merge()
        except Exception:  # noqa: BLE001, S110  (see `_hook_of`)
            pass

    def keep(self, paths: list[str]) -> None:
        """Add absolute paths as far as there is room, and tell the parent process about them."""
        characters = sum(map(len, paths))
        if len(self.read) + len(paths) > MAX_FILES or self.characters + characters > MAX_CHARACTERS:
            self.forget_code()
            paths = [path for path in paths if not is_code(path)]
            room = MAX_FILES - len(self.read)
            characters = sum(map(len, paths[:room]))
            if self.characters + characters > MAX_CHARACTERS:
                room, characters = 0, 0
            self.not_kept += len(paths[max(room, 0) :])
            paths = paths[: max(room, 0)]
        self.read.update(paths)
        self.characters += characters
        if self.for_parent is not None and paths:
            self.tell_parent(paths)

    def forget_code(self) -> None:
        """Make room: drop what is no data by its name."""
        code = [path for path in list(self.read) if is_code(path)]
        self.read.difference_update(code)
        self.characters = sum(map(len, list(self.read)))

    # Forked children

    def tell_parent(self, paths: Iterable[str]) -> None:
        """Write paths to the memory that is shared with the parent process, as far as there is room."""
        with self.lock:
            region = self.for_parent
            if region is None:
                return
            used = int.from_bytes(region[:_LENGTH], "little")
            for path in paths:
                line = os.fsencode(path) + b"\0"
                end = _LENGTH + used + len(line)
                if end > SHARED_BYTES:
                    used = SHARED_BYTES  # more than fits: the parent sees that something is missing
                    self.for_parent = None
                    break
                region[_LENGTH + used : end] = line
                used += len(line)
            region[:_LENGTH] = used.to_bytes(_LENGTH, "little")

    def before_fork(self) -> None:
        """Make the memory that the child will share with this process."""
        self.lock.acquire()
        self.for_child = None
        try:
            self.merge()
            self.for_child = mmap.mmap(-1, SHARED_BYTES)
        except Exception:  # noqa: BLE001, S110  (without it the child's files are not seen)
            pass

    def after_fork_in_parent(self) -> None:
        """Keep the child's memory; merge the oldest when there are too many."""
        try:
            self.children += 1
            if self.for_child is None:
                self.cut = True
            else:
                self.regions.append(self.for_child)
            self.for_child = None
            while len(self.regions) > MAX_CHILDREN:
                self.take_from(self.regions.pop(0))
        except Exception:  # noqa: BLE001  (a fork must not fail for it)
            self.cut = True
        finally:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Go on with a copy of the parent's paths; each new one is told to the parent at once."""
        self.lock = threading.RLock()
        self.for_parent, self.for_child = self.for_child, None
        self.regions = []
        self.children = 0
        self.batch = 0

    def take_from(self, region: mmap.mmap) -> None:
        """Add the paths that a child has written."""
        used = int.from_bytes(region[:_LENGTH], "little")
        if used > SHARED_BYTES - _LENGTH:
            self.cut = True
            used = SHARED_BYTES - _LENGTH
        lines = region[_LENGTH : _LENGTH + used].split(b"\0")[:-1]
        self.keep([path for path in map(os.fsdecode, lines) if path[:1] == "/" and path not in self.read])

    def snapshot(self) -> OpenedFiles:
        """Everything that was seen until now, of forked children too."""
        self.merge()
        with self.lock:
            for region in self.regions:
                self.take_from(region)
        return OpenedFiles(
            frozenset(self.read),
            frozenset(self.written),
            self.since,
            self.not_kept,
            self.children,
            self.cut,
        )


def _hook_of(watch: _Watch) -> Callable[[str, tuple[Any, ...]], None]:
    """What the interpreter calls for each audit event: all that is here costs each file that is opened."""
    recent = watch.recent
    add = recent.add

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            try:
                path, mode, flags = arguments
                if mode is None or flags & _WRITES:
                    watch.opened_otherwise(path, mode, flags)
                else:
                    add(path)
                    if len(recent) > watch.batch:
                        watch.merge()
            except Exception:  # noqa: BLE001, S110  (it would keep the file from being opened)
                pass
        elif event == "os.chdir":
            watch.quietly_merge()
        elif event == "os.rename":
            watch.renamed(arguments)

    return hook


_watch: _Watch | None = None


def install() -> None:
    """Begin to watch this process; a second call changes nothing."""
    global _watch
    if _watch is not None:
        return
    watch = _Watch()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=watch.before_fork,
            after_in_parent=watch.after_fork_in_parent,
            after_in_child=watch.after_fork_in_child,
        )
    sys.addaudithook(_hook_of(watch))
    _watch = watch


def is_installed() -> bool:
    """Whether this process is watched."""
    return _watch is not None


def snapshot() -> OpenedFiles | None:
    """What this process and its forked children opened until now; None when it is not watched."""
    return _watch.snapshot() if _watch is not None else None


CODE_SUFFIXES = (
    ".py", ".pyc", ".pyi", ".pyx", ".pth", ".so", ".dll", ".dylib", ".ipynb", ".sh", ".egg-link",
    ".yaml", ".yml", ".toml", ".ini", ".cfg", ".env", ".lock",
)  # fmt: skip
"""Ends of names that are code or configuration and no data."""
_SYSTEM = tuple(
    f"{folder}/"
    for folder in (
        *("/proc", "/sys", "/dev", "/etc", "/run", "/usr", "/bin", "/lib", "/lib64", "/sbin", "/boot", "/snap"),
        *("/System", "/Library", "/Applications", "/private/etc", "/var/run", "/var/db"),
        *{sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix} - {"", "/"},
    )
)
_LIBRARIES = ("/site-packages/", "/dist-packages/", "/__pycache__/")


def is_code(path: str) -> bool:
    """Whether an absolute path is code, configuration, or a file of Python or the system, by its name alone."""
    return path.endswith(CODE_SUFFIXES) or is_code_folder(path)


def is_code_folder(path: str) -> bool:
    """Whether a path, with `/` at its end for a folder, is below a folder of Python, a library or the system."""
    return path.startswith(_SYSTEM) or any(each in path for each in _LIBRARIES)


def _text(path: Any) -> str | None:
    """A path as text; None for a descriptor."""
    if isinstance(path, int):
        return None
    return str(os.fsdecode(path))


def _is_absolute(path: Any) -> bool:
    return os.fsdecode(path)[:1] == os.sep


def _full(path: str, folder: str | None) -> str:
    """The absolute path, without `.` and double separators; `..` stays, since a link may be before it."""
    if path[:1] == "/":
        return path
    while path[:2] == "./":
        path = path[2:].lstrip("/")
    return f"{folder or os.getcwd()}/{path}"  # noqa: PTH109  (it costs each file that is opened)


def _called_by_us() -> bool:
    """Whether the code that opens the file is this package's: the frame below those of the hook."""
    frame = sys._getframe(3)
    return str(frame.f_globals.get("__name__", "")).partition(".")[0] == _OWN
