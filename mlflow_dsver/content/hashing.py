"""Hashes a folder into a manifest.

In two steps: the folder is walked and the cache asked, which decides what must be read; then that is read, in
batches, by as many threads as there are processors. A file is opened, its stat taken before and after it is read,
and the whole fails, naming it, when the two differ: a manifest never describes a mixture of two states of a file.
(Between files there is no such bond: whoever writes to a folder while it is hashed may get some of the changes.)

Memory: about 400 bytes a file for the manifest, and a buffer for each thread, however large the files are. Files
are read, not mapped into memory: a mapped file that is cut short kills the process.
"""

from __future__ import annotations

import os
import stat as modes
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mlflow_dsver._version import __version__
from mlflow_dsver.content.cache import Row, StatCache, is_young, stamp
from mlflow_dsver.content.patterns import Rules, Selection, select
from mlflow_dsver.content.problems import Problems, reason
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.walk import Found, check_folder, walk_selected
from mlflow_dsver.errors import ContentError
from mlflow_dsver.manifests import FileEntry, Manifest
from mlflow_dsver.text import one_line

Take = Callable[[int, os.stat_result, str], str]
"""(descriptor of the open file, its stat, its path below the folder) -> BLAKE3 as 64 hex digits.

Reads the file from where the descriptor stands to its end, and may do more with the bytes, such as keep them.
Called from several threads. What it raises ends the hashing and reaches the caller as it is.
"""

SMALL = 128 * 1024
"""Bytes up to which a file is read in one piece."""

BLOCK = 4 << 20
"""Bytes that are read and hashed at a time of a larger file."""

TICK = 0.02
"""Seconds: longer than the grain of the clock that Linux stamps files with (at most 10 ms)."""

_BATCH_FILES = 256
_BATCH_BYTES = 64 << 20
_OPEN = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_EVERYTHING = Rules()
_Todo = list[tuple[int, str, int]]


def hash_folder(
    folder: Path,
    *,
    rules: Rules = _EVERYTHING,
    cache: StatCache | None = None,
    progress: Progress = SILENT,
    take: Take | None = None,
) -> Manifest:
    """The manifest of a folder's files; what counts as such is told in `mlflow_dsver.content.walk`.

    cache: spares reading files that were hashed before and are untouched; None reads everything.
    take: called, possibly from several threads, for each file whose digest the cache does not know.
    Raises ContentError for a folder that is missing, a file or without files, for what `walk` refuses, and for
    files that cannot be read or that change, grow, shrink or vanish meanwhile, naming them.
    """
    selection = select(check_folder(folder), rules)
    root = os.fsencode(os.path.realpath(folder))
    entries, todo, gone = _decide(walk_selected(folder, selection), cache.rows(root) if cache else iter(()))
    if not entries:
        raise ContentError(
            f"{one_line(folder)} has no files", expected="at least one file that no pattern leaves out"
        )
    progress.total(len(todo), sum(size for _, _, size in todo))
    _read(folder, entries, todo, take or take_digest, _Keeper(cache, root), progress)
    if cache and gone and selection.everything():
        cache.forget(root, gone)
    return Manifest(tuple(entries), made=_made(selection))


def hash_file(path: Path) -> FileEntry:
    """Name, size and digest of one file, as an entry of a manifest has them; raises ContentError like hash_folder."""
    problems = Problems()
    read = _read_one(str(path), path.name, take_digest, problems)
    problems.raise_any(path)
    assert read is not None
    return FileEntry(path.name, *read[:2])


def take_digest(descriptor: int, status: os.stat_result, path: str) -> str:
    """The plain `Take`: hashes, and does nothing else."""
    from blake3 import blake3

    if status.st_size <= SMALL:
        data = os.read(descriptor, status.st_size + 1)
        if len(data) == status.st_size:
            return blake3(data).hexdigest()
        os.lseek(descriptor, 0, os.SEEK_SET)
    hasher = blake3(max_threads=blake3.AUTO)
    buffer = memoryview(bytearray(BLOCK))
    while count := os.readv(descriptor, [buffer]):
        hasher.update(buffer[:count])
    return hasher.hexdigest()


def _decide(found: Iterable[Found], rows: Iterator[Row]) -> tuple[list[FileEntry], _Todo, list[str]]:
    """Entries in order, those to be read (place, path, size) still without digest, and known paths that are gone.

    Both inputs are sorted by path, so they are merged without keeping either.
    """
    entries: list[FileEntry] = []
    todo: _Todo = []
    gone: list[str] = []
    row = next(rows, None)
    for path, status in found:
        while row is not None and row[0] < path:
            gone.append(row[0])
            row = next(rows, None)
        if row is not None and row[0] == path:
            known, row = row, next(rows, None)
            if known[1] == stamp(status):
                entries.append(FileEntry(path, status.st_size, known[2].hex()))
                continue
        todo.append((len(entries), path, status.st_size))
        entries.append(FileEntry(path, status.st_size, ""))
    return entries, todo, gone


class _Keeper:
    """Saves rows to the cache in portions, so that an interrupted run has not worked for nothing."""

    def __init__(self, cache: StatCache | None, root: bytes) -> None:
        self.cache = cache
        self._root = root
        self._rows: list[Row] = []

    def keep(self, rows: list[Row]) -> None:
        self._rows += rows
        if len(self._rows) >= 20_000:
            self.flush()

    def flush(self) -> None:
        if self.cache and self._rows:
            self.cache.remember(self._root, self._rows)
        self._rows = []


def _read(
    folder: Path, entries: list[FileEntry], todo: _Todo, take: Take, keeper: _Keeper, progress: Progress
) -> None:
    """Put the digests of what is to be read into the entries."""
    problems = Problems()
    prefix = os.path.join(folder, "")  # noqa: PTH118  (text: a Path for each file is slow)

    def read_batch(batch: _Todo) -> list[Row]:
        rows = []
        for place, path, _ in batch:
            read = _read_one(prefix + path, path, take, problems)
            if read is None:
                continue
            size, digest, row_stamp = read
            entries[place] = FileEntry(path, size, digest)
            if row_stamp is not None:
                rows.append(Row(path, row_stamp, bytes.fromhex(digest)))
        progress.advance(len(batch), sum(size for _, _, size in batch))
        return rows

    with ThreadPoolExecutor(_threads(todo)) as pool:
        try:
            for rows in pool.map(read_batch, _batches(todo)):
                keeper.keep(rows)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            keeper.flush()
    problems.raise_any(folder)


def _read_one(address: str, path: str, take: Take, problems: Problems) -> tuple[int, str, bytes | None] | None:
    """Size, digest, and stamp if it is safe to remember; None when there is a problem, which is noted.

    After the first problem files are only opened, so that all that may not be read are named soon.
    """
    try:
        descriptor = os.open(address, _OPEN)
    except OSError as error:
        problems.add(path, reason(error))
        return None
    try:
        before = os.fstat(descriptor)
        if not modes.S_ISREG(before.st_mode):
            problems.add(path, "replaced by something that is no file while the folder was read")
            return None
        if problems:
            return None
        now = time.time_ns()
        if now - before.st_ctime_ns < TICK * 1e9:  # a write within the same tick would not show: let the tick pass
            time.sleep(TICK)
        digest = take(descriptor, before, path)
        same = stamp(before) == stamp(os.fstat(descriptor))
        if take is take_digest and os.lseek(descriptor, 0, os.SEEK_CUR) != before.st_size:
            same = False
    finally:
        os.close(descriptor)
    if not same:
        problems.add(path, "changed while it was read")
        return None
    return before.st_size, digest, None if is_young(before, now) else stamp(before)


def _batches(todo: _Todo) -> Iterator[_Todo]:
    """Portions for one thread: some hundred files, or fewer when they are large."""
    batch: _Todo = []
    size = 0
    for each in todo:
        batch.append(each)
        size += each[2]
        if len(batch) == _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _threads(todo: _Todo) -> int:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(processors, 16))


def _made(selection: Selection) -> dict[str, Any]:
    return {"tool": f"mlflow-dsver {__version__}", "digest": "blake3", "links": "followed", **selection.made()}
