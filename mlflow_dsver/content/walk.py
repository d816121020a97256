"""Walks a folder: every file that counts, with its stat, in the order of a manifest.

What counts and what does not:

- regular files, hidden ones too; empty folders are not part of the content;
- symbolic links are followed, and what they point to is read in their place, inside the folder or outside it; a
  link that points nowhere, or to a folder that it lies in, is an error that names it;
- pipes, sockets and devices, names that are not UTF-8, and folders that may not be listed are errors that name
  them, all of them at once (`ContentError.paths`, up to a cap), since leaving them out silently would be a lie;
- names that differ only by case or Unicode normal form are kept apart, with a warning in the log: they cannot
  lie beside each other on some other systems;
- patterns leave files out (`mlflow_dsver.content.patterns`); what they leave out is not looked at.

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
from mlflow_dsver.os_names import os_text, text_of

__all__ = ["Found", "Rules", "walk", "walk_selected"]

_log = logging.getLogger(__name__)
_EVERYTHING = Rules()
_TYPE = 0o170000
_found = tuple.__new__  # in a third of the time that the constructor of a named tuple takes
_RUN = 500
_OPEN = 100  # folders kept open at a time; deeper ones are listed by path
_Listing = list[tuple[str, os.DirEntry[str]]]  # name as text, with a slash for a folder, and entry
PassedOver = Callable[[str], object]
"""Told of each path that patterns leave out, with a slash at the end for a folder, and of the ignore file."""


class Found(NamedTuple):
    """A file: its path below the folder with `/`, and its stat (of what it points to, for a link)."""

    path: str
    stat: os.stat_result


class _Level(NamedTuple):
    """A folder on the way down: its path below the root, what is left of it, and its descriptor if kept open."""

    prefix: str
    identity: tuple[int, int]
    listing: Iterator[tuple[str, os.DirEntry[str]]]
    descriptor: int | None


def walk(folder: Path, rules: Rules = _EVERYTHING) -> Iterator[Found]:
    """All files of the folder that count, sorted by the code points of the whole path.

    Raises ContentError at once for a folder that is missing or a file, and at the end for all else that was met.
    """
    holding = ExitStack()
    with holding:
        held = holding.enter_context(opened(folder))
        selection = select(held.descriptor, rules)
        return _walk(held, selection, holding.pop_all())


def _walk(held: OpenFolder, selection: Selection, holding: ExitStack) -> Iterator[Found]:
    with holding:
        yield from chain.from_iterable(walk_selected(held, selection))


def walk_selected(
    folder: OpenFolder, selection: Selection, passed_over: PassedOver | None = None
) -> Iterator[list[Found]]:
    """`walk` for rules that were read already; the files come in runs of up to some hundred."""
    problems = WalkErrors()
    yield from _Walk(folder, selection, problems, passed_over).runs()
    problems.raise_any(folder.path)


class _Walk:
    """One walk through a folder."""

    def __init__(
        self, folder: OpenFolder, selection: Selection, problems: WalkErrors, passed_over: PassedOver | None
    ) -> None:
        self._folder = folder
        self._selection = selection
        self._problems = problems
        self._passed_over = passed_over
        self._levels: list[_Level] = []

    def runs(self) -> Iterator[list[Found]]:
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

    def _run(self, level: _Level) -> tuple[list[Found], tuple[str, os.stat_result] | None]:
        """Some files of a folder, and the folder that comes after them if they end there; neither at the end."""
        prefix = level.prefix
        files: list[Found] = []
        for key, entry in level.listing:
            try:
                status = entry.stat()
            except OSError as error:
                self._problems.add((prefix + key).rstrip("/"), _why(entry, error))
                continue
            if key[-1] != "/":
                if status.st_mode & _TYPE == stat.S_IFREG:
                    files.append(_found(Found, (prefix + key, status)))
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
        """List a folder: by descriptor, which makes the stat of its files cheaper, unless too many are open."""
        identity = (status.st_dev, status.st_ino)
        descriptor = None
        try:
            if len(self._levels) < _OPEN:
                descriptor = self._folder.open_below(prefix or ".")
            where = os.path.join(self._folder.real, os_text(prefix)) if descriptor is None else descriptor  # noqa: PTH118
            now = os.stat(where)  # noqa: PTH116
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
        """Those that count as content, or may have something below that does."""
        if prefix and self._selection.everything():
            return listing
        takes = self._selection.takes
        kept = [each for each in listing if takes(prefix + each[0]) and (prefix or each[0] != IGNORE_FILE)]
        if self._passed_over is not None and len(kept) < len(listing):
            names = {key for key, _ in kept}
            for key, _ in listing:
                if key not in names:
                    self._passed_over(prefix + key)
        return kept


def _name_of(entry: os.DirEntry[str]) -> str:
    """The name of an entry as text, with a slash for a folder."""
    name = text_of(entry.name)
    return name + "/" if _is_folder(entry) else name


def _close(level: _Level) -> None:
    if level.descriptor is not None:
        os.close(level.descriptor)


def _checked_names(listing: _Listing, prefix: str, problems: WalkErrors) -> _Listing:
    """Those with names in UTF-8; the others are noted, and names that are alike are warned of."""
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
    except OSError:  # a link in a circle, or to where we may not look: its stat says so again, and is reported
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
