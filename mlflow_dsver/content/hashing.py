"""Hashes a folder into a manifest.

In two steps: the folder is walked and the cache asked, which decides what must be read; then that is read, in
batches, by as many threads as there are processors. A file is opened, its stat taken before and after it is read,
and the whole fails, naming it, when the two differ: a manifest never describes a mixture of two states of a file,
where a file system tells (`dirty_pages`). The folder is held open, and links to folders in it are looked at again at
the end, so it never describes a mixture of two folders either. (Between the files of a folder there is no such bond:
whoever writes to it while it is hashed may get some of the changes.)

Memory: about 400 bytes a file for the manifest, and a buffer for each thread, however large the files are. Files
are read, not mapped into memory: a mapped file that is cut short kills the process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from mlflow_dsver._version import __version__
from mlflow_dsver.content.dirty_pages import RECENT, DirtyPages, flush_many, trusted_device
from mlflow_dsver.content.open_folder import OpenFolder, opened
from mlflow_dsver.content.parallel_reading import LARGE, OnFile, Reader, Todo, read_parallel
from mlflow_dsver.content.patterns import Rules, Selection, select
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.stat_cache import Row, StatCache, stamp
from mlflow_dsver.content.walk import Found, PassedOver, walk_selected
from mlflow_dsver.errors import ContentError
from mlflow_dsver.model.manifests import FileEntry, Manifest, gc_paused
from mlflow_dsver.os_names import text_of
from mlflow_dsver.text import one_line

__all__ = ["OnFile", "Rules", "StatCache", "hash_file", "hash_folder"]

SAVE_EVERY = 60.0
"""Seconds after which the cache is saved in the middle of long work."""

MAX_UNSAVED = 200_000
"""Files from which on it is saved as well, since what is unsaved lies in memory."""

_EVERYTHING = Rules()
_END: tuple[str | None, tuple[bytes, bytes]] = (None, (b"", b""))
_entry = tuple.__new__  # in a third of the time that the constructor of a named tuple takes


def hash_folder(
    folder: Path,
    *,
    rules: Rules = _EVERYTHING,
    cache: StatCache | None = None,
    progress: Progress = SILENT,
    take: OnFile | None = None,
    passed_over: PassedOver | None = None,
) -> Manifest:
    """The manifest of a folder's files; what counts as such is told in `mlflow_dsver.content.walk`.

    cache: spares reading files that were hashed before and are untouched; None reads everything.
    take: called, possibly from several threads, for each file whose digest the cache does not know.
    passed_over: called with each path that patterns leave out, and with the ignore file's name if there is one.
    Raises ContentError for a folder that is missing, a file or without files, for what `walk` refuses, and for
    files that cannot be read or that change, grow, shrink or vanish meanwhile, naming them.
    """
    with opened(folder) as held:
        selection = select(held.descriptor, rules)
        memory = _Memory(cache, os.fsencode(held.real))
        with gc_paused():
            entries, todo, gone, recent = _decide(walk_selected(held, selection, passed_over), memory.rows())
        if not entries:
            raise ContentError(
                f"{one_line(folder)} has no files", expected="at least one file that no pattern leaves out"
            )
        flush_many(held.descriptor, recent)
        try:
            _read(held, todo, entries, memory, take, progress)
        finally:
            memory.save(gone if selection.everything() else [])
    return Manifest(tuple(entries), made=_made(selection))


def _read(
    held: OpenFolder,
    todo: Todo,
    entries: list[FileEntry],
    memory: _Memory,
    take: OnFile | None,
    progress: Progress,
) -> None:
    """Read what is to be read into the entries and the cache. Raises ContentError."""
    progress.total(len(todo), sum(size for _, _, size in todo))
    large_files = sum(size >= LARGE for _, _, size in todo)
    pages = DirtyPages(trusted_device(held) if memory.used else None)
    reader = Reader(held.path, take, progress, large_files=large_files, root=held.descriptor, pages=pages)
    for batch in read_parallel(reader, todo):
        for place, entry, fresh_stamp in batch:
            entries[place] = entry
            memory.keep(entry, fresh_stamp)
    held.check_links(reader.problems)
    reader.problems.raise_any(held.path)


def hash_file(path: Path) -> FileEntry:
    """Name, size and digest of one file, as an entry of a manifest has them; raises ContentError like hash_folder."""
    reader = Reader(path.parent, None, SILENT)
    read = reader.read(text_of(path.name))
    reader.problems.raise_any(path.parent)
    assert read is not None
    return read[0]


def _decide(runs: Iterable[list[Found]], rows: Iterator[Row]) -> tuple[list[FileEntry], Todo, list[str], int]:
    """Entries in order, what is to be read (whose entries have no digest yet), and known paths that are gone.

    And how many of those to be read changed so recently that they may lie in memory alone. Both inputs are sorted by
    path, so they are merged without keeping either.
    """
    entries: list[FileEntry] = []
    todo: Todo = []
    gone: list[str] = []
    recent = 0
    latest = time.time_ns() - RECENT
    known, (known_stamp, digest) = next(rows, _END)
    for path, status in chain.from_iterable(runs):
        while known is not None and known < path:
            gone.append(known)
            known, (known_stamp, digest) = next(rows, _END)
        if known == path and known_stamp == stamp(status):
            entries.append(_entry(FileEntry, (path, status.st_size, digest.hex())))
        else:
            todo.append((len(entries), path, status.st_size))
            recent += status.st_ctime_ns > latest
            entries.append(_entry(FileEntry, (path, status.st_size, "")))
        if known == path:
            known, (known_stamp, digest) = next(rows, _END)
    if known is not None:
        gone += [known, *(path for path, _ in rows)]
    return entries, todo, gone, recent


class _Memory:
    """What the cache knows of one folder, and what it will."""

    def __init__(self, cache: StatCache | None, root: bytes) -> None:
        self._cache = cache
        self._root = root
        self._fresh: list[Row] = []
        self._saved = time.monotonic()
        self.used = cache is not None

    def rows(self) -> Iterator[Row]:
        return iter(()) if self._cache is None else self._cache.rows(self._root)

    def keep(self, entry: FileEntry, fresh_stamp: bytes | None) -> None:
        if self._cache is None or fresh_stamp is None:
            return
        self._fresh.append((entry.path, (fresh_stamp, bytes.fromhex(entry.digest))))
        count = len(self._fresh)
        if count >= MAX_UNSAVED or (count % 1000 == 0 and time.monotonic() - self._saved > SAVE_EVERY):
            self._cache.save(self._root, self._fresh)
            self._fresh = []
            self._saved = time.monotonic()

    def save(self, gone: list[str]) -> None:
        if self._cache is None:
            return
        if self._fresh or gone:
            self._cache.save(self._root, self._fresh, gone)
        else:
            self._cache.touch(self._root)


def _made(selection: Selection) -> dict[str, Any]:
    return {"tool": f"mlflow-dsver {__version__}", "digest": "blake3", "links": "followed", **selection.rules.made()}
