"""Hashes a folder into a manifest.

First the folder is walked and each file is looked up in the stat cache; then the files that are not in it are read
in batches, by one thread per processor. Hashing fails, naming the file, when a file's stat differs before and after
it is read, so a manifest never mixes two states of a file where the file system reports changes (`dirty_pages`). The
folder is kept open, and links to folders in it are checked again at the end, so a manifest never mixes two folders
either. It may mix states of the folder: whoever writes to it meanwhile may get some of the changes.

Memory: about 400 bytes per file for the manifest, and one buffer per thread, independent of file sizes. Files are
read and not memory-mapped: a mapped file that is truncated kills the process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from mlflow_dsver._version import __version__
from mlflow_dsver.content.atomic_files import atomic_folder, check_new_folder, safe_join
from mlflow_dsver.content.dirty_pages import RECENT, DirtyPages, flush_many, trusted_device
from mlflow_dsver.content.open_folder import OpenFolder, opened
from mlflow_dsver.content.parallel_reading import LARGE, OnFile, Reader, Todo, read_parallel
from mlflow_dsver.content.patterns import Rules, Selection, select
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.stat_cache import Row, StatCache, stamp
from mlflow_dsver.content.walk import OnExcluded, WalkEntry, walk_selected
from mlflow_dsver.errors import ContentError, DsverError, StoreError
from mlflow_dsver.model.manifests import FileEntry, Manifest, gc_paused
from mlflow_dsver.text import one_line, text_of

__all__ = ["OnFile", "Rules", "StatCache", "copy_folder", "hash_file", "hash_folder"]

SAVE_EVERY = 60.0
"""Seconds after which the cache is saved while hashing goes on."""

MAX_UNSAVED = 200_000
"""Files after which it is saved as well, to bound memory."""

_COPY_BLOCK = 1 << 20
_EVERYTHING = Rules()
_END: tuple[str | None, tuple[bytes, bytes]] = (None, (b"", b""))
_entry = tuple.__new__  # three times as fast as the constructor of a named tuple


def hash_folder(
    folder: Path,
    *,
    rules: Rules = _EVERYTHING,
    cache: StatCache | None = None,
    progress: Progress = SILENT,
    on_file: OnFile | None = None,
    on_excluded: OnExcluded | None = None,
) -> Manifest:
    """The manifest of a folder's files; see `mlflow_dsver.content.walk` for which files are included.

    cache: unchanged files that were hashed before are not read again; None reads every file.
    on_file: called, possibly from several threads, for each file that is not in the cache.
    on_excluded: called with each path that patterns exclude, and with the ignore file's name if there is one.
    Raises ContentError for a folder that is missing, a file or without files, for what `walk` refuses, and for
    files that cannot be read or that change, grow, shrink or vanish meanwhile, naming them.
    """
    with opened(folder) as opened_folder:
        selection = select(opened_folder.descriptor, rules)
        cached = _CachedFolder(cache, os.fsencode(opened_folder.real))
        with gc_paused():
            entries, todo, deleted, recent = _plan(
                walk_selected(opened_folder, selection, on_excluded), cached.rows()
            )
        if not entries:
            raise ContentError(
                f"{one_line(folder)} has no files", expected="at least one file that no pattern leaves out"
            )
        flush_many(opened_folder.descriptor, recent)
        try:
            _read(opened_folder, todo, entries, cached, on_file, progress)
        finally:
            cached.save(deleted if selection.includes_everything() else [])
    return Manifest(tuple(entries), made=_made(selection))


def _read(
    folder: OpenFolder,
    todo: Todo,
    entries: list[FileEntry],
    cached: _CachedFolder,
    on_file: OnFile | None,
    progress: Progress,
) -> None:
    """Read the files in `todo` and add them to the entries and the cache. Raises ContentError."""
    progress.total(len(todo), sum(size for _, _, size in todo))
    large_files = sum(size >= LARGE for _, _, size in todo)
    pages = DirtyPages(trusted_device(folder) if cached.used else None)
    reader = Reader(folder.path, on_file, progress, large_files=large_files, root=folder.descriptor, pages=pages)
    for batch in read_parallel(reader, todo):
        for place, entry, fresh_stamp in batch:
            entries[place] = entry
            cached.keep(entry, fresh_stamp)
    folder.check_links(reader.problems)
    reader.problems.raise_any(folder.path)


def hash_file(path: Path) -> FileEntry:
    """Name, size and digest of one file, as an entry of a manifest has them; raises ContentError like hash_folder."""
    reader = Reader(path.parent, None, SILENT)
    read = reader.read(text_of(path.name))
    reader.problems.raise_any(path.parent)
    assert read is not None
    return read[0]


def _plan(runs: Iterable[list[WalkEntry]], rows: Iterator[Row]) -> tuple[list[FileEntry], Todo, list[str], int]:
    """Entries in order; the files to be read, whose entries have no digest yet; and cached paths that are gone.

    Fourth, how many of the files to be read changed so recently that they may have dirty pages. Both inputs are
    sorted by path, so they are merged as streams.
    """
    entries: list[FileEntry] = []
    todo: Todo = []
    deleted: list[str] = []
    recent = 0
    latest = time.time_ns() - RECENT
    known, (known_stamp, digest) = next(rows, _END)
    for path, status in chain.from_iterable(runs):
        while known is not None and known < path:
            deleted.append(known)
            known, (known_stamp, digest) = next(rows, _END)
        if known == path and known_stamp == stamp(status):
            entries.append(_entry(FileEntry, (path, status.st_size, digest.hex(), None)))
        else:
            todo.append((len(entries), path, status.st_size))
            recent += status.st_ctime_ns > latest
            entries.append(_entry(FileEntry, (path, status.st_size, "", None)))
        if known == path:
            known, (known_stamp, digest) = next(rows, _END)
    if known is not None:
        deleted += [known, *(path for path, _ in rows)]
    return entries, todo, deleted, recent


class _CachedFolder:
    """The cached digests of one folder, and those to be saved."""

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

    def save(self, deleted: list[str]) -> None:
        if self._cache is None:
            return
        if self._fresh or deleted:
            self._cache.save(self._root, self._fresh, deleted)
        else:
            self._cache.touch(self._root)


def _made(selection: Selection) -> dict[str, Any]:
    return {"tool": f"mlflow-dsver {__version__}", "digest": "blake3", "links": "followed", **selection.rules.made()}


def copy_folder(source: Path, target: Path, accept: Callable[[Manifest], None], progress: Progress) -> None:
    """Copy a folder's files into a new or empty folder, hashed while they are copied; whole or not at all.

    accept: called with the manifest of what was copied; when it raises, there is no copy. Raises InvalidArgument for
    a target with something in it, StoreError when it cannot be written.
    """

    def copy(descriptor: int, status: os.stat_result, relative: str) -> str:
        from blake3 import blake3

        file = safe_join(beside, relative)
        file.parent.mkdir(parents=True, exist_ok=True)
        hasher = blake3()
        with file.open("xb") as stream:
            while block := os.read(descriptor, _COPY_BLOCK):
                hasher.update(block)
                stream.write(block)
        return hasher.hexdigest()

    try:
        check_new_folder(target)
        with atomic_folder(target.absolute(), durable=False) as beside:
            accept(hash_folder(source, cache=None, progress=progress, on_file=copy))
    except DsverError:
        raise
    except OSError as error:
        raise StoreError(f"{one_line(target)} cannot be written: {error.strerror}") from error
