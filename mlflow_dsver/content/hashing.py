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
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from mlflow_dsver._version import __version__
from mlflow_dsver.content.cache import Row, StatCache, stamp
from mlflow_dsver.content.patterns import Rules, Selection, select
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.reading import LARGE, Reader, Take, Todo, spread
from mlflow_dsver.content.walk import Found, check_folder, walk_selected
from mlflow_dsver.errors import ContentError
from mlflow_dsver.manifests import FileEntry, Manifest
from mlflow_dsver.memory import no_collection
from mlflow_dsver.text import one_line

__all__ = ["Rules", "StatCache", "Take", "hash_file", "hash_folder"]

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
    take: Take | None = None,
) -> Manifest:
    """The manifest of a folder's files; what counts as such is told in `mlflow_dsver.content.walk`.

    cache: spares reading files that were hashed before and are untouched; None reads everything.
    take: called, possibly from several threads, for each file whose digest the cache does not know.
    Raises ContentError for a folder that is missing, a file or without files, for what `walk` refuses, and for
    files that cannot be read or that change, grow, shrink or vanish meanwhile, naming them.
    """
    selection = select(check_folder(folder), rules)
    memory = _Memory(cache, os.fsencode(os.path.realpath(folder)))
    with no_collection():
        entries, todo, gone = _decide(walk_selected(folder, selection), memory.rows())
    if not entries:
        raise ContentError(
            f"{one_line(folder)} has no files", expected="at least one file that no pattern leaves out"
        )
    progress.total(len(todo), sum(size for _, _, size in todo))
    large_files = sum(size >= LARGE for _, _, size in todo)
    reader = Reader(folder, take, progress, large_files=large_files)
    try:
        for batch in spread(reader, todo):
            for place, entry, fresh_stamp in batch:
                entries[place] = entry
                memory.keep(entry, fresh_stamp)
    finally:
        memory.save(gone if selection.everything() else [])
    reader.problems.raise_any(folder)
    return Manifest(tuple(entries), made=_made(selection))


def hash_file(path: Path) -> FileEntry:
    """Name, size and digest of one file, as an entry of a manifest has them; raises ContentError like hash_folder."""
    reader = Reader(path.parent, None, SILENT)
    read = reader.read(path.name)
    reader.problems.raise_any(path.parent)
    assert read is not None
    return read[0]


def _decide(runs: Iterable[list[Found]], rows: Iterator[Row]) -> tuple[list[FileEntry], Todo, list[str]]:
    """Entries in order, what is to be read (whose entries have no digest yet), and known paths that are gone.

    Both inputs are sorted by path, so they are merged without keeping either.
    """
    entries: list[FileEntry] = []
    todo: Todo = []
    gone: list[str] = []
    known, (known_stamp, digest) = next(rows, _END)
    for path, status in chain.from_iterable(runs):
        while known is not None and known < path:
            gone.append(known)
            known, (known_stamp, digest) = next(rows, _END)
        if known == path and known_stamp == stamp(status):
            entries.append(_entry(FileEntry, (path, status.st_size, digest.hex())))
        else:
            todo.append((len(entries), path, status.st_size))
            entries.append(_entry(FileEntry, (path, status.st_size, "")))
        if known == path:
            known, (known_stamp, digest) = next(rows, _END)
    if known is not None:
        gone += [known, *(path for path, _ in rows)]
    return entries, todo, gone


class _Memory:
    """What the cache knows of one folder, and what it will."""

    def __init__(self, cache: StatCache | None, root: bytes) -> None:
        self._cache = cache
        self._root = root
        self._fresh: list[Row] = []
        self._saved = time.monotonic()

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
    return {"tool": f"mlflow-dsver {__version__}", "digest": "blake3", "links": "followed", **selection.made()}
