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
from contextlib import suppress
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from mlflow_dsver.content.patterns import IGNORE_FILE, Rules, Selection, select
from mlflow_dsver.content.problems import Problems, reason
from mlflow_dsver.errors import ContentError
from mlflow_dsver.refs import nearest
from mlflow_dsver.text import one_line

__all__ = ["Found", "Rules", "walk", "walk_selected"]

_log = logging.getLogger(__name__)
_EVERYTHING = Rules()
_TYPE = 0o170000
_found = tuple.__new__  # in a third of the time that the constructor of a named tuple takes
_RUN = 500
_NEIGHBOURS = 1000  # folders that are looked through for one with nearly the same name
_OPEN = 100  # folders kept open at a time; deeper ones are listed by path
_Listing = list[tuple[str, os.DirEntry[str]]]  # name, with a slash for a folder, and entry


class Found(NamedTuple):
    """A file: its path below the folder with `/`, and its stat (of what it points to, for a link)."""

    path: str
    stat: os.stat_result


class _Level(NamedTuple):
    """A folder on the way down: where it is, what is left of it, and its descriptor if it is kept open."""

    address: str
    prefix: str
    identity: tuple[int, int]
    listing: Iterator[tuple[str, os.DirEntry[str]]]
    descriptor: int | None


def walk(folder: Path, rules: Rules = _EVERYTHING) -> Iterator[Found]:
    """All files of the folder that count, sorted by the code points of the whole path.

    Raises ContentError at once for a folder that is missing or a file, and at the end for all else that was met.
    """
    return chain.from_iterable(walk_selected(folder, select(check_folder(folder), rules)))


def walk_selected(folder: Path, selection: Selection) -> Iterator[list[Found]]:
    """`walk` for rules that were read already; the files come in runs of up to some hundred."""
    problems = Problems()
    yield from _runs(folder, selection, problems)
    problems.raise_any(folder)


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
    """What may be meant by a folder that does not exist: one with nearly the same name, or one elsewhere."""
    names = []
    with suppress(OSError, ValueError), os.scandir(folder.parent) as found:
        names = sorted(each.name for each in islice(found, _NEIGHBOURS) if each.is_dir())
    near = ", ".join(one_line(folder.parent / name) for name in nearest(folder.name, names))
    return near or f"another path; this one means {one_line(folder.absolute())}"


def _runs(folder: Path, selection: Selection, problems: Problems) -> Iterator[list[Found]]:
    levels: list[_Level] = []
    try:
        levels.append(_open_level(str(folder), "", folder.stat(), selection, problems, True))
        while levels:
            level = levels[-1]
            files, below = _run(level, levels, problems)
            if files:
                yield files
            if below is not None:
                name, status = below
                address = os.path.join(level.address, name[:-1])  # noqa: PTH118  (text, as it is used as such)
                keep_open = len(levels) < _OPEN
                levels.append(_open_level(address, level.prefix + name, status, selection, problems, keep_open))
            elif not files:
                _close(levels.pop())
    finally:
        for level in levels:
            _close(level)


def _run(
    level: _Level, levels: list[_Level], problems: Problems
) -> tuple[list[Found], tuple[str, os.stat_result] | None]:
    """Some files of a folder, and the folder that comes after them if they end there; neither at the end."""
    prefix = level.prefix
    files: list[Found] = []
    for key, entry in level.listing:
        try:
            status = entry.stat()
        except OSError as error:
            problems.add((prefix + key).rstrip("/"), _why(entry, error))
            continue
        if key[-1] != "/":
            if status.st_mode & _TYPE == stat.S_IFREG:
                files.append(_found(Found, (prefix + key, status)))
                if len(files) == _RUN:
                    break
            else:
                problems.add(prefix + key, "neither a file nor a folder")
        elif any((status.st_dev, status.st_ino) == above.identity for above in levels):
            problems.add(prefix + key[:-1], "a symbolic link to a folder that it lies in")
        else:
            return files, (key, status)
    return files, None


def _open_level(
    address: str,
    prefix: str,
    status: os.stat_result,
    selection: Selection,
    problems: Problems,
    keep_open: bool,
) -> _Level:
    """List a folder. keep_open: by descriptor, which makes the stat of its files cheaper."""
    identity = (status.st_dev, status.st_ino)
    descriptor = None
    try:
        descriptor = os.open(address, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if keep_open else None
        with os.scandir(address if descriptor is None else descriptor) as entries:
            listing = [(entry.name + "/" if _is_folder(entry) else entry.name, entry) for entry in entries]
    except OSError as error:
        problems.add(prefix.rstrip("/") or ".", reason(error))
        return _Level(address, prefix, identity, iter(()), descriptor)
    if not prefix:
        listing = [each for each in listing if each[0] != IGNORE_FILE]
    if not selection.everything():
        listing = [each for each in listing if selection.takes(prefix + each[0])]
    listing.sort(key=itemgetter(0))
    return _Level(address, prefix, identity, iter(_checked_names(listing, prefix, problems)), descriptor)


def _close(level: _Level) -> None:
    if level.descriptor is not None:
        os.close(level.descriptor)


def _checked_names(listing: _Listing, prefix: str, problems: Problems) -> _Listing:
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
