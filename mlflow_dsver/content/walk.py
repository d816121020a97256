"""Walks a folder: yields every included file with its stat, in the order of a manifest.

- Regular files are included, also hidden ones; empty folders are not part of the content.
- Symbolic links are followed, inside the folder and out of it; a dangling link, or one to a folder above itself, is
  an error that names it.
- Pipes, sockets and devices, names that are not UTF-8, and folders that may not be listed are errors. One
  ContentError names all of them (`ContentError.paths`, up to a limit).
- Names that differ only by case or Unicode normal form are separate files, with a warning: some file systems cannot
  store both.
- Paths that patterns exclude (`mlflow_dsver.content.patterns`) are not opened.

Memory: the names of one folder, and of each folder above it, at a time.
"""

from __future__ import annotations

import logging
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from mlflow_dsver.content.open_folder import MOVED, OpenFolder, WalkErrors, opened, reason
from mlflow_dsver.content.patterns import IGNORE_FILE, Rules, Selection, select
from mlflow_dsver.text import os_text, text_of

__all__ = ["Rules", "WalkEntry", "walk", "walk_selected"]

_log = logging.getLogger(__name__)
_EVERYTHING = Rules()
_TYPE = 0o170000
_new_entry = tuple.__new__  # three times as fast as the constructor of a named tuple
_RUN = 500
_OPEN = 100  # folders kept open at a time; deeper ones are listed by path
_Listing = list[tuple[str, os.DirEntry[str]]]  # name as text, with a slash for a folder, and entry
OnExcluded = Callable[[str], object]
"""Called with each path that patterns exclude, with a slash at the end for a folder, and with the ignore file's."""


class WalkEntry(NamedTuple):
    """A file: its path below the folder with `/`, and its stat (of what it points to, for a link)."""

    path: str
    stat: os.stat_result


class _Level(NamedTuple):
    """A folder that is being walked: its path below the root, its remaining entries, and its descriptor if open."""

    prefix: str
    identity: tuple[int, int]
    listing: Iterator[tuple[str, os.DirEntry[str]]]
    descriptor: int | None


def walk(folder: Path, rules: Rules = _EVERYTHING) -> Iterator[WalkEntry]:
    """All included files of the folder, sorted by the code points of the whole path.

    Raises ContentError at once for a folder that is missing or a file, and at the end for all other errors.
    """
    stack = ExitStack()
    with stack:
        open_folder = stack.enter_context(opened(folder))
        selection = select(open_folder.descriptor, rules)
        return _walk(open_folder, selection, stack.pop_all())


def _walk(open_folder: OpenFolder, selection: Selection, stack: ExitStack) -> Iterator[WalkEntry]:
    with stack:
        yield from chain.from_iterable(walk_selected(open_folder, selection))


def walk_selected(
    folder: OpenFolder, selection: Selection, on_excluded: OnExcluded | None = None
) -> Iterator[list[WalkEntry]]:
    """`walk` with compiled rules; yields up to some hundred files at a time."""
    problems = WalkErrors()
    yield from _Walk(folder, selection, problems, on_excluded).runs()
    problems.raise_any(folder.path)


class _Walk:
    """One walk through a folder."""

    def __init__(
        self, folder: OpenFolder, selection: Selection, problems: WalkErrors, on_excluded: OnExcluded | None
    ) -> None:
        self._folder = folder
        self._selection = selection
        self._problems = problems
        self._on_excluded = on_excluded
        self._levels: list[_Level] = []

    def runs(self) -> Iterator[list[WalkEntry]]:
        """The files, some hundred at a time."""
        levels = self._levels
        try:
            levels.append(self._open_level("", self._folder.status))
            while levels:
                files, below = self._run(levels[-1])
                if files:
                    yield files
                if below is not None:
                    levels.append(self._open_level(*below))
                elif not files:
                    _close(levels.pop())
        finally:
            for level in levels:
                _close(level)

    def _run(self, level: _Level) -> tuple[list[WalkEntry], tuple[str, os.stat_result] | None]:
        """The next files of a folder, and the subfolder that follows them if there is one; neither at the end."""
        prefix = level.prefix
        files: list[WalkEntry] = []
        for key, entry in level.listing:
            try:
                status = entry.stat()
            except OSError as error:
                self._problems.add((prefix + key).rstrip("/"), _why(entry, error))
                continue
            if key[-1] != "/":
                if status.st_mode & _TYPE == stat.S_IFREG:
                    files.append(_new_entry(WalkEntry, (prefix + key, status)))
                    if len(files) == _RUN:
                        break
                else:
                    self._problems.add(prefix + key, "neither a file nor a folder")
            elif any((status.st_dev, status.st_ino) == above.identity for above in self._levels):
                self._problems.add(prefix + key[:-1], "a symbolic link to a folder that it lies in")
            else:
                if entry.is_symlink():
                    self._folder.note_link(prefix + key[:-1], entry.stat(follow_symlinks=False), status)
                return files, (prefix + key, status)
        return files, None

    def _open_level(self, prefix: str, status: os.stat_result) -> _Level:
        """List a folder: by descriptor, which makes stat calls cheaper, unless too many are open."""
        identity = (status.st_dev, status.st_ino)
        descriptor = None
        try:
            if len(self._levels) < _OPEN:
                descriptor = self._folder.open_below(prefix or ".")
            where = os.path.join(self._folder.real, os_text(prefix)) if descriptor is None else descriptor  # noqa: PTH118  (it may be a descriptor)
            now = os.stat(where)  # noqa: PTH116  (by path or descriptor)
            with os.scandir(where) as entries:
                listing = [(_name_of(entry), entry) for entry in entries]
        except OSError as error:
            self._problems.add(prefix.rstrip("/") or ".", reason(error))
            return _Level(prefix, identity, iter(()), descriptor)
        if (now.st_dev, now.st_ino) != identity:
            self._problems.add(prefix.rstrip("/"), MOVED)
            listing = []
        listing = self._counting(listing, prefix)
        listing.sort(key=itemgetter(0))
        return _Level(prefix, identity, iter(_checked_names(listing, prefix, self._problems)), descriptor)

    def _counting(self, listing: _Listing, prefix: str) -> _Listing:
        """The included files, and the folders that may have some below."""
        if prefix and self._selection.includes_everything():
            return listing
        includes = self._selection.includes
        included = [each for each in listing if includes(prefix + each[0]) and (prefix or each[0] != IGNORE_FILE)]
        if self._on_excluded is not None and len(included) < len(listing):
            names = {key for key, _ in included}
            for key, _ in listing:
                if key not in names:
                    self._on_excluded(prefix + key)
        return included


def _name_of(entry: os.DirEntry[str]) -> str:
    """The name of an entry as text, with a slash for a folder."""
    name = text_of(entry.name)
    return name + "/" if _is_folder(entry) else name


def _close(level: _Level) -> None:
    if level.descriptor is not None:
        os.close(level.descriptor)


def _checked_names(listing: _Listing, prefix: str, problems: WalkErrors) -> _Listing:
    """The entries whose names are UTF-8; the others are errors. Logs a warning for names that are alike."""
    names = "/".join([key for key, _ in listing])
    if names.isascii():
        alike = len({*names.lower().split("/")} - {""}) < len(listing)
    else:
        wrong = {key for key, _ in listing if not _is_utf8(key)}
        for key in sorted(wrong):
            problems.add(prefix + key.rstrip("/"), "its name is not UTF-8")
        listing = [each for each in listing if each[0] not in wrong]
        alike = len({_folded(key) for key, _ in listing}) < len(listing)
    if alike:
        _warn_of_likeness(listing, prefix)
    return listing


def _warn_of_likeness(listing: _Listing, prefix: str) -> None:
    alike: dict[str, list[str]] = {}
    for key, _ in listing:
        alike.setdefault(_folded(key), []).append(prefix + key)
    for names in alike.values():
        if len(names) > 1:
            shown = ", ".join(ascii(name) for name in names[:5])
            _log.warning("names that some systems cannot keep apart (case or normal form): %s", shown)


def _folded(key: str) -> str:
    return unicodedata.normalize("NFC", key.removesuffix("/").casefold())


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, or no permission: its stat fails too, which is reported
        return False


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _why(entry: os.DirEntry[str], error: OSError) -> str:
    if isinstance(error, FileNotFoundError) and entry.is_symlink():
        return "a symbolic link that points nowhere"
    return reason(error)
