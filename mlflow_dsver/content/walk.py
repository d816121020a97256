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
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from mlflow_dsver.content.patterns import IGNORE_FILE, Rules, Selection, select
from mlflow_dsver.content.problems import Problems, reason
from mlflow_dsver.errors import ContentError
from mlflow_dsver.text import one_line

__all__ = ["Found", "Rules", "walk", "walk_selected"]

_log = logging.getLogger(__name__)
_EVERYTHING = Rules()
_TYPE = 0o170000
_found = tuple.__new__  # in a third of the time that the constructor of a named tuple takes
_Listing = list[tuple[str, os.DirEntry[str]]]


class Found(NamedTuple):
    """A file: its path below the folder with `/`, and its stat (of what it points to, for a link)."""

    path: str
    stat: os.stat_result


def walk(folder: Path, rules: Rules = _EVERYTHING) -> Iterator[Found]:
    """All files of the folder that count, sorted by the code points of the whole path.

    Raises ContentError at once for a folder that is missing or a file, and at the end for all else that was met.
    """
    return walk_selected(folder, select(check_folder(folder), rules))


def walk_selected(folder: Path, selection: Selection) -> Iterator[Found]:
    """`walk` for rules that were read already."""
    problems = Problems()
    yield from _files(folder, selection, problems)
    problems.raise_any(folder)


def check_folder(folder: Path) -> Path:
    """Hand back a folder that exists, or raise ContentError."""
    try:
        mode = folder.stat().st_mode
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, PermissionError) else "does not exist"
        raise ContentError(f"{one_line(folder)}: {why}", expected="a folder") from error
    if not stat.S_ISDIR(mode):
        raise ContentError(f"{one_line(folder)} is a file", expected="a folder")
    return folder


def _files(folder: Path, selection: Selection, problems: Problems) -> Iterator[Found]:
    root = folder.stat()
    listings = [iter(_listing(str(folder), "", selection, problems))]
    prefixes = [""]
    above = [(root.st_dev, root.st_ino)]
    while listings:
        prefix = prefixes[-1]
        for key, entry in listings[-1]:
            try:
                status = entry.stat()
            except OSError as error:
                problems.add((prefix + key).rstrip("/"), _why(entry, error))
                continue
            if key[-1] != "/":
                if status.st_mode & _TYPE == stat.S_IFREG:
                    yield _found(Found, (prefix + key, status))
                else:
                    problems.add(prefix + key, "neither a file nor a folder")
                continue
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                problems.add((prefix + key)[:-1], "a symbolic link to a folder that it lies in")
                continue
            listings.append(iter(_listing(entry.path, prefix + key, selection, problems)))
            prefixes.append(prefix + key)
            above.append(identity)
            break
        else:
            listings.pop()
            prefixes.pop()
            above.pop()


def _listing(folder: str, prefix: str, selection: Selection, problems: Problems) -> _Listing:
    """Name (with a slash for a folder) and entry of what counts in one folder, in order."""
    try:
        with os.scandir(folder) as entries:
            listing = [(entry.name + "/" if _is_folder(entry) else entry.name, entry) for entry in entries]
    except OSError as error:
        problems.add(prefix.rstrip("/") or ".", reason(error))
        return []
    if not prefix:
        listing = [each for each in listing if each[0] != IGNORE_FILE]
    if not selection.everything():
        listing = [each for each in listing if selection.takes(prefix + each[0])]
    listing.sort(key=itemgetter(0))
    return _checked_names(listing, prefix, problems)


def _checked_names(listing: _Listing, prefix: str, problems: Problems) -> _Listing:
    """Those with names in UTF-8; the others are noted, and names that are alike are warned of."""
    names = "".join([key if key[-1] == "/" else key + "/" for key, _ in listing])
    if names.isascii():
        alike = len(set(names.lower().split("/"))) <= len(listing)
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
