"""Reads files in several threads, and detects those that change while they are read.

A change is detected by mtime and ctime, which `dirty_pages` makes reliable; on file systems where that cannot be
proven, a write through a memory map may go unnoticed, and no digest is cached.

Small files in the page cache are read fastest by one thread, because of Python's global lock; files that have to be
waited for (a cold disk, a network) by many threads; large files by one thread per processor, as hashing releases the
lock. Which of these applies is measured while reading.
"""

from __future__ import annotations

import os
import resource
import stat as modes
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from threading import Event

from blake3 import blake3

from mlflow_dsver.content.dirty_pages import DirtyPages
from mlflow_dsver.content.open_folder import WalkErrors, reason
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.content.stat_cache import is_young, stamp
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.text import os_text

OnFile = Callable[[int, os.stat_result, str], str]
"""(descriptor of the open file, its stat, its path below the folder) -> BLAKE3 as 64 hex digits.

Reads the file from the descriptor's position to its end; may also store the bytes. Called from several threads.
What it raises ends the hashing and is passed to the caller.
"""

Todo = list[tuple[int, str, int]]
"""Files to be read: index in the caller's list, path below the folder, size when it was walked."""

Read = tuple[int, FileEntry, bytes | None]
"""A file that was read: its index, its entry, and its stamp when the entry may be cached."""

SMALL = 128 * 1024
"""Bytes up to which a file is read in one piece."""

LARGE = 16 << 20
"""Bytes from which a file is a batch of its own."""

BLOCK = 1 << 20
"""Bytes that a thread reads and hashes at a time; 4 times as many where one file uses all processors."""

TICK = 20_000_000
"""Nanoseconds: longer than the resolution of file timestamps on Linux (at most 10 ms)."""

_BATCH_FILES = 256
_WAITING_THREADS = 16
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Reader:
    """Reads the files of one folder. on_file: called with each; None only hashes.

    root: descriptor of the folder, so that its files are read even when its path now leads elsewhere; None uses the
    path. pages: makes changes by other processes visible in the stat.
    """

    def __init__(
        self,
        folder: Path,
        on_file: OnFile | None,
        progress: Progress,
        *,
        large_files: int = 1,
        root: int | None = None,
        pages: DirtyPages | None = None,
    ) -> None:
        self.problems = WalkErrors()
        self.stopped = Event()
        self._root = root
        self._pages = pages or DirtyPages()
        self._prefix = "" if root is not None else os.path.join(folder, "")  # noqa: PTH118  (a Path is slow)
        self._on_file = on_file or self._hash
        self._plain = on_file is None
        self._progress = progress
        self._threads_a_file = 1 if large_files >= processors() else blake3.AUTO

    def read_batch(self, batch: Todo) -> list[Read]:
        """Read some files; those with a problem are noted and not returned."""
        done = []
        for place, path, _ in batch:
            read = self.read(path)
            if read is not None:
                done.append((place, *read))
        reported = SMALL if self._plain else None  # larger ones were reported while they were hashed
        sizes = (size for _, _, size in batch)
        self._progress.advance(len(batch), sum(size for size in sizes if reported is None or size <= reported))
        return done

    def read(self, path: str) -> tuple[FileEntry, bytes | None] | None:
        """Entry of a file, and its stamp if the entry may be cached; None when there is a problem.

        After the first problem files are only opened, so that one error names all unreadable files.
        """
        try:
            descriptor = os.open(self._prefix + os_text(path), _OPEN, dir_fd=self._root)
        except OSError as error:
            self.problems.add(path, reason(error))
            return None
        try:
            return self._read_open(descriptor, path)
        finally:
            os.close(descriptor)

    def _read_open(self, descriptor: int, path: str) -> tuple[FileEntry, bytes | None] | None:
        status = os.fstat(descriptor)
        if not modes.S_ISREG(status.st_mode):
            self.problems.add(path, "no regular file (any more)")
            return None
        if self.problems or self.stopped.is_set():
            return None
        self._pages.wait_for_writer(descriptor, status.st_dev)
        status = os.fstat(descriptor)
        now = time.time_ns()
        if 0 <= now - status.st_ctime_ns < TICK:  # another write in the same clock tick would not show
            time.sleep(TICK / 1e9)
        before = stamp(status)
        provable = not is_young(status, now) and self._pages.flush(descriptor, status.st_dev)
        try:
            digest = self._on_file(descriptor, status, path)
        except _ReadError as error:
            self.problems.add(path, str(error))
            return None
        if before != stamp(os.fstat(descriptor)):
            self.problems.add(path, "changed while it was read")
            return None
        return FileEntry(path, status.st_size, digest), before if provable else None

    def _hash(self, descriptor: int, status: os.stat_result, path: str) -> str:
        size = status.st_size
        try:
            if size <= SMALL:
                data = os.read(descriptor, size + 1)
                if len(data) != size:
                    raise _ReadError("changed while it was read")
                return blake3(data).hexdigest()
            return self._hash_large(descriptor, size)
        except OSError as error:
            raise _ReadError(reason(error)) from error

    def _hash_large(self, descriptor: int, size: int) -> str:
        threads = self._threads_a_file if size >= LARGE else 1
        hasher = blake3(max_threads=threads)
        buffer = memoryview(bytearray(min(size + 1, BLOCK if threads == 1 else 4 * BLOCK)))
        while not self.stopped.is_set() and (count := os.readv(descriptor, [buffer])):
            hasher.update(buffer[:count])
            self._progress.advance(0, count)
            size -= count
        if size:
            raise _ReadError("changed while it was read")
        return hasher.hexdigest()


class _ReadError(Exception):
    """A file could not be read to the size of its stat."""


def processors() -> int:
    """How many processors this process may use, 16 at most."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 16)


def batches(todo: Todo) -> Iterator[Todo]:
    """Batches for one thread: a large file, or some hundred small ones."""
    batch: Todo = []
    size = 0
    for each in todo:
        batch.append(each)
        size += each[2]
        if len(batch) == _BATCH_FILES or size >= LARGE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def read_parallel(reader: Reader, todo: Todo) -> Iterator[list[Read]]:
    """Read all files; batches are yielded as they are done, in any order. An interrupt ends it within one block.

    Small files are read in the caller's thread until the system reports that it had to wait for them.
    """
    waiting = False
    running: set[Future[list[Read]]] = set()
    with ThreadPoolExecutor(_WAITING_THREADS, "mlflow-dsver-read") as pool:
        try:
            for batch in batches(todo):
                large = batch[-1][2] >= LARGE
                if not large and not waiting:
                    before = _waits()
                    yield reader.read_batch(batch)
                    waiting = _waits() - before > len(batch) // 2 + 2
                    continue
                while len(running) >= (processors() if large else _WAITING_THREADS):
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                running.add(pool.submit(reader.read_batch, batch))
            yield from (future.result() for future in as_completed(running))
        except BaseException:
            reader.stopped.set()
            raise


def _waits() -> int:
    return resource.getrusage(getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)).ru_nvcsw
