"""Which files a run's process read that belong to no linked version, and which linked versions were not seen read.

`tracking.opened_files` notes what was opened; here it is decided, at the end of a run, what of it is data, and whose.
A file belongs to a version when it is below the folder that `path()` returned, below the provider's local copy or
mount, or below the folder that the version refers to, and is one of the version's files where these are known. A
file elsewhere belongs to it when the end of its path, its size and its digest are those of a file of the version:
such is the folder that a version was created from.

Files are those of the process, not of one run: all that it opened since it imported MLflow. A file of a version that
another run of the process is linked to is not undeclared. Files that the process or its children created, code,
configuration, hidden files, temporary files, MLflow's stores and files of Python and the system are left out.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow_dsver.checks.data_paths import DataPaths
from mlflow_dsver.content.hashing import hash_file
from mlflow_dsver.content.stat_cache import default_cache, stamp
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.model.versions import DatasetVersion, Link, now
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record import schema
from mlflow_dsver.resolution import version_files
from mlflow_dsver.text import human_count, one_line, text_of
from mlflow_dsver.tracking.opened_files import OpenedFiles

JUDGING_SECONDS = 5.0
"""Seconds after which the remaining files are counted and not judged."""
MAX_PATHS = 2_000
"""Paths in the artifact at most."""
MAX_INDEXED = 200_000
"""Files of a version at most whose manifest is read; of a larger one, all files below its folder belong to it."""
PATHS_IN_WARNING = 3
NOT_SEEN = (
    "files that a library opens without Python's open (C++, Rust, Java): pyarrow, and so pandas.read_parquet, "
    "polars, HDF5, OpenCV, tf.data",
    "files that another process reads: subprocesses, and children that are started by spawn or forkserver",
    "files that were opened before MLflow was imported, and files that are gone at the end of the run",
    "databases, object stores and other data that comes over the network",
)
"""What the watch cannot see; part of each artifact."""
_SCOPE = (
    "files that this process and its forked children opened for reading from Python in this time, whatever run they "
    "were for"
)
_CHECK_TIME_EVERY = 256


@dataclass(frozen=True, slots=True)
class VersionRead:
    """A linked version, and how many of its files were seen to be read; files: all that it has, None if unknown.

    compared_by_path: how many of these belong to it by path and size alone, as there was no time to read them.
    """

    role: str
    version: DatasetVersion
    files_read: int
    files: int | None
    compared_by_path: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """Files: how many, and the first of their paths, as text, relative to the working folder if below it."""

    count: int = 0
    paths: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object with both."""
        return {"count": self.count, "paths": list(self.paths)}


@dataclass(frozen=True, slots=True)
class FilesRead:
    """The files that were read until the end of a run.

    undeclared: read, and of no linked version. differing: those of them that have the path of a file of a linked
    version and other content, with the role. created_here: read, and created or changed since the watch began.
    of_other_runs: of versions that other runs of the process are linked to. not_judged: no time was left for them.
    """

    run_id: str
    since: datetime
    judged: datetime
    versions: tuple[VersionRead, ...]
    undeclared: Listed = Listed()
    differing: Mapping[str, str] = field(default_factory=dict)
    created_here: Listed = Listed()
    of_other_runs: int = 0
    not_judged: int = 0
    not_kept: int = 0
    children: int = 0
    children_cut: bool = False

    @property
    def unseen(self) -> tuple[str, ...]:
        """The roles whose version was not seen to be read."""
        return tuple(each.role for each in self.versions if not each.files_read)

    def summary(self) -> str:
        """The value of the tag."""
        linked = sum({each.version: each.files_read for each in self.versions}.values())
        told = f"{human_count(linked, 'file')} of linked versions read, {self.undeclared.count:,} undeclared"
        if self.unseen:
            told += f"; not seen to be read: {', '.join(self.unseen)}"
        missing = self.not_judged + self.not_kept
        return told + (f"; {missing:,} not judged" if missing else "")

    def warning(self) -> str | None:
        """One line for the log; None when every file belongs to a version and every version was read."""
        told = []
        count = self.undeclared.count
        if count:
            shown = ", ".join(one_line(path, 120) for path in self.undeclared.paths[:PATHS_IN_WARNING])
            more = ", …" if count > PATHS_IN_WARNING else ""
            verb = "belongs" if count == 1 else "belong"
            told.append(f"{human_count(count, 'file')} read {verb} to no linked version ({shown}{more})")
        if self.unseen:
            told.append(f"not seen to be read: {', '.join(self.unseen)}")
        return "; ".join(told) or None

    def to_json(self) -> dict[str, Any]:
        """The artifact."""
        return {
            "schema": 1,
            "run_id": self.run_id,
            "watched_since": date_text(self.since),
            "judged": date_text(self.judged),
            "scope": _SCOPE,
            "summary": self.summary(),
            "versions": [
                {
                    "role": each.role,
                    "version": str(each.version),
                    "seen_to_be_read": each.files_read > 0,
                    "files_read": each.files_read,
                    "files": each.files,
                    "compared_by_path_only": each.compared_by_path,
                }
                for each in self.versions
            ],
            "undeclared": self.undeclared.to_json() | {"differing": dict(self.differing)},
            "created_here": self.created_here.to_json(),
            "of_other_runs": self.of_other_runs,
            "not_judged": self.not_judged,
            "not_kept": self.not_kept,
            "children": self.children,
            "children_cut": self.children_cut,
            "cannot_be_seen": list(NOT_SEEN),
        }

    def to_bytes(self) -> bytes:
        """The artifact as it is logged, in ASCII."""
        return (json.dumps(self.to_json(), indent=2) + "\n").encode()


def judge(
    run_id: str,
    opened: OpenedFiles,
    links: Mapping[str, Link],
    others: Collection[DatasetVersion] = (),
    stores: Iterable[Path] = (),
    *,
    seconds: float = JUDGING_SECONDS,
) -> FilesRead:
    """Decide which of the opened files are data, and to which linked version each belongs.

    others: versions that other runs of this process are linked to. stores: folders of MLflow, which are left out.
    Errors of a provider leave its version with the folder that was given out. Raises SettingsError.
    """
    deadline = Deadline(seconds)
    linked = {role: _Linked(link.version, deadline) for role, link in sorted(links.items())}
    elsewhere = [_Linked(version, deadline) for version in others]
    data = DataPaths(stores, opened.written)
    found = _Found()
    paths = sorted(opened.read)
    for number, path in enumerate(paths):
        if number % _CHECK_TIME_EVERY == 0 and deadline.left() <= 0:
            found.not_judged = sum(map(data.is_counted, paths[number:]))
            break
        _judge_one(path, opened, linked.values(), elsewhere, data, found)
    return FilesRead(
        run_id=run_id,
        since=datetime.fromtimestamp(opened.since, UTC),
        judged=now(),
        versions=tuple(each.result(role) for role, each in linked.items()),
        undeclared=_listed(data, found.undeclared),
        differing={
            data.shown(path): role
            for real, path in islice(found.undeclared.items(), MAX_PATHS)
            for role, each in linked.items()
            if each.has_other_content(real)
        },
        created_here=_listed(data, found.created_here),
        of_other_runs=found.of_other_runs,
        not_judged=found.not_judged,
        not_kept=opened.not_kept,
        children=opened.children,
        children_cut=opened.cut,
    )


def _listed(data: DataPaths, paths: Mapping[str, str]) -> Listed:
    return Listed(len(paths), tuple(map(data.shown, islice(paths.values(), MAX_PATHS))))


@dataclass(slots=True)
class _Found:
    """Files by their real path, each with the path that it was opened by."""

    undeclared: dict[str, str] = field(default_factory=dict)
    created_here: dict[str, str] = field(default_factory=dict)
    of_other_runs: int = 0
    not_judged: int = 0


def _judge_one(
    path: str,
    opened: OpenedFiles,
    linked: Collection[_Linked],
    elsewhere: Collection[_Linked],
    data: DataPaths,
    found: _Found,
) -> None:
    """Put one opened path where it belongs; one that is no data is dropped."""
    name = path.rpartition("/")[2]
    folder = data.folder_of(path)
    real = folder.real + name
    if name in ("", "..") or os.path.islink(real):  # noqa: PTH114  (for each of many files)
        real = os.path.realpath(real)
    if sum(each.has_below(path, real) for each in linked):  # a file may be of several
        return
    if any(each.has_below(path, real) for each in elsewhere):
        found.of_other_runs += 1
        return
    if not (folder.may_have_data and data.may_be(name)):
        return
    try:
        status = os.stat(real)  # noqa: PTH116  (for each of many files)
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(status.st_mode):
        return
    if sum(each.has_content(real, status) for each in linked):
        return
    if any(each.has_content(real, status) for each in elsewhere):
        found.of_other_runs += 1
    elif status.st_ctime > opened.since or folder.created_here or not opened.written.isdisjoint((path, real)):
        found.created_here.setdefault(real, path)
    else:
        found.undeclared.setdefault(real, path)


class _Linked:
    """A version, where its files are on this machine, and which of them were read."""

    def __init__(self, version: DatasetVersion, deadline: Deadline) -> None:
        self.version = version
        self._deadline = deadline
        self._read: set[str] = set()
        self._by_path: set[str] = set()
        self._rows: dict[str, dict[str, tuple[bytes, bytes]]] = {}
        folders, self._index = _files_of(version)
        self._roots = tuple(dict.fromkeys(f"{each.rstrip('/')}/" for each in folders))
        self._source = "\0"  # the folder elsewhere in which a file of the version was found last

    def result(self, role: str) -> VersionRead:
        files = len(self._index) if self._index is not None else schema.file_count(self.version)
        return VersionRead(role, self.version, len(self._read), files, len(self._by_path))

    def has_below(self, *paths: str) -> bool:
        """Whether one of these paths is a file of the version in one of its folders; then it was read."""
        for root in self._roots:
            for path in paths:
                if path.startswith(root):
                    relative = text_of(path[len(root) :])
                    if self._index is None or relative in self._index:
                        self._read.add(relative)
                        return True
        return False

    def has_content(self, path: str, status: os.stat_result) -> bool:
        """Whether a file elsewhere has the path and the content of one of the version's files; then it was read."""
        if not self._index:
            return False
        if path.startswith(self._source) and self._is_in(self._source, path, status):
            return True
        start = 0
        while (start := path.find("/", start) + 1) > 0:
            if self._is_in(path[:start], path, status):
                self._source = path[:start]
                return True
        return False

    def _is_in(self, root: str, path: str, status: os.stat_result) -> bool:
        relative = text_of(path[len(root) :])
        entry = self._index.get(relative) if self._index else None
        if entry is None or entry.bytes != status.st_size:
            return False
        digest = self._digest(root, relative, path, status)
        if digest is None or entry.blake3 is None:
            self._by_path.add(relative)
        elif digest != entry.digest:
            return False
        self._read.add(relative)
        return True

    def has_other_content(self, path: str) -> bool:
        """Whether an undeclared file is in a folder with files of the version, under the path of one of them."""
        folders = (*self._roots, self._source)
        return any(path.startswith(each) and text_of(path[len(each) :]) in (self._index or ()) for each in folders)

    def _digest(self, root: str, relative: str, path: str, status: os.stat_result) -> str | None:
        """The digest of a file: from the cache, else by reading it; None when no time is left."""
        if root not in self._rows:
            self._rows[root] = dict(default_cache(read_only=True).rows(os.fsencode(root.rstrip("/") or "/")))
        known = self._rows[root].get(relative)
        if known is not None and known[0] == stamp(status):
            return known[1].hex()
        if self._deadline.left() <= (self._deadline.seconds or 0) / 2:
            return None
        try:
            return hash_file(Path(path)).digest
        except DsverError:
            return ""


def _files_of(version: DatasetVersion) -> tuple[list[str], dict[str, FileEntry] | None]:
    """The folders that a version's files are in, also by their real paths; and its files, None where unknown."""
    folders: list[Path] = []
    index = None
    given = version_files.folder_of(version.ref)
    if given is not None:
        folders.append(given)
    try:
        provider = get_provider(version.ref.provider)
        copy = provider.local_copy(version)
        if copy is not None:
            folders += [each for each in (copy.given, None if copy.by_digest else copy.folder) if each is not None]
        if not provider.remote and (schema.file_count(version) or 0) <= MAX_INDEXED:
            manifest = version_files.manifest_of(version)
            index = {entry.path: entry for entry in manifest.entries} if manifest is not None else None
    except (DsverError, OSError):
        pass  # what was given out is known without the provider
    absolute = [str(each.absolute()) for each in folders if str(each) not in ("", ".")]
    return [*absolute, *map(os.path.realpath, absolute)], index
