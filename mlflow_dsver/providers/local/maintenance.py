"""Integrity check and garbage collection of a whole store.

`check` hashes everything now and trusts no date, mode or cache; it takes no lock, writes nothing and works on a
read-only disk. `collect` locks the store exclusively. It removes references before their targets (views, manifests,
then objects), so that an interrupted collection leaves no dangling reference; and it keeps recent files, because a
writer on another machine may share the store through a file system whose locks do not reach this one.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import CorruptObject, StoreError
from mlflow_dsver.model import json_values
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.dataset_history import State
from mlflow_dsver.providers.local.log import file_sum, manifest_of, parse, read_log
from mlflow_dsver.providers.local.objects import object_state
from mlflow_dsver.providers.local.shared_views import is_intact, remove_spare, views_in
from mlflow_dsver.providers.local.store import Store, hex_of, locked, meanings, remove_tree
from mlflow_dsver.providers.local.verified_stats import VerifiedObjects

MIN_AGE = 3600.0
"""Minimum age in seconds of unreferenced files that are collected."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One damaged or missing file.

    kind: `format`, `id`, `log`, `manifest`, `object` or `view` (a checked-out copy, which can be recreated). file:
    relative to the store. problem: the reason. versions: references that need it, the first ten.
    """

    kind: str
    file: str
    problem: str
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The result of a store check; truthy when nothing is damaged.

    datasets, versions, objects, views: how many were checked; bytes: of all objects, referenced or not. references:
    versions that only refer to a folder, whose bytes were not read. interrupted: logs that end with a truncated line;
    harmless.
    """

    store: str
    datasets: int = 0
    versions: int = 0
    references: int = 0
    objects: int = 0
    views: int = 0
    bytes: int = 0
    interrupted: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def __bool__(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field, and `ok`."""
        return {"ok": bool(self), **json_values.to_json(self)}


@dataclass(frozen=True, slots=True)
class Collection:
    """What a collection removed, or would remove in a dry run; bytes: freed on the disk, as sizes of files."""

    store: str
    dry_run: bool
    objects: int = 0
    manifests: int = 0
    views: int = 0
    leftovers: int = 0
    bytes: int = 0
    kept_young: int = 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        return json_values.to_json(self)


@dataclass(slots=True)
class _Needs:
    """What the logs refer to: content digest to references, and to the accepted sums of its manifest.

    kept: content digests of versions whose bytes are in the store.
    """

    versions: dict[str, list[str]] = field(default_factory=dict)
    sums: dict[str, set[str]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def add(self, state: State) -> None:
        for record in state.versions.values():
            ref = DatasetRef("local", state.dataset, record.id)
            self.versions.setdefault(record.digest, []).append(str(ref))
            self.sums.setdefault(record.digest, set()).add(record.manifest)
            if record.kept:
                self.kept.add(record.digest)


def check(store: Store, *, progress: Progress = SILENT) -> CheckReport:
    """Read and hash all that versions refer to. Raises StoreError only when the store cannot be read at all."""
    findings: list[Finding] = []
    try:
        if not store.exists():
            return CheckReport(str(store.root))
    except StoreError as error:
        findings.append(Finding("format", "format", str(error)))
    if (store.root / "id").exists() and store.id() is None:
        findings.append(Finding("id", "id", "it is not what was written, so links to this store do not know it"))
    needs = _Needs()
    interrupted = []
    datasets = 0
    for log, state in _states(store, findings):
        datasets += 1
        if state.torn:
            interrupted.append(_relative(store, log))
        needs.add(state)
    objects = _manifests(store, needs, findings)
    _add_unneeded(store, objects)
    total = sum(entry.bytes for entry, _ in objects.values())
    progress.total(len(objects), total)
    for entry, digest in objects.values():
        problem = object_state(store, entry)
        if problem is not None:
            file = _relative(store, Path(store.object(entry.digest)))
            versions = tuple(needs.versions.get(digest, ())[:10])
            findings.append(Finding("object", file, f"{entry.path}: {problem}", versions))
        progress.advance(1, entry.bytes)
    views = _check_views(store, needs, findings)
    return CheckReport(
        store=str(store.root),
        datasets=datasets,
        versions=sum(map(len, needs.versions.values())),
        references=sum(len(versions) for digest, versions in needs.versions.items() if digest not in needs.kept),
        objects=len(objects),
        views=views,
        bytes=total,
        interrupted=tuple(interrupted),
        findings=tuple(findings),
    )


def collect(
    store: Store, *, dry_run: bool = True, min_age: float = MIN_AGE, progress: Progress = SILENT
) -> Collection:
    """Remove what no version refers to: manifests, objects, views, and leftovers of killed processes.

    min_age: seconds; files changed more recently are kept. Raises CorruptObject, and removes nothing, when a log or a
    manifest is damaged, because its references are unknown then. Raises StoreError when the store is locked or cannot
    be written.
    """
    if not store.exists():
        return Collection(str(store.root), dry_run)
    with locked(store.root / "lock", exclusive=not dry_run):
        digests, objects = _needed(store)
        sweep = _Sweep(store, dry_run, time.time() - min_age, progress)
        verified = VerifiedObjects(store)
        with meanings(f"the store {store.root} cannot be cleaned"):
            sweep.views(digests)
            manifests = sweep.files(_children(store.root / "manifests"), {f"{each}.jsonl.gz" for each in digests})
            removed = 0
            for prefix in _children(store.root / "objects"):
                removed += sweep.files(_children(prefix), objects)
                if not dry_run:
                    verified.forget(prefix.name, objects)
            sweep.trees("tmp", set())
        return Collection(
            store=str(store.root),
            dry_run=dry_run,
            objects=removed,
            manifests=manifests,
            views=sweep.removed["views"],
            leftovers=sweep.removed["tmp"],
            bytes=sweep.bytes,
            kept_young=sweep.young,
        )


class _Sweep:
    """Removes and counts files that are unreferenced and old enough; in a dry run it only counts."""

    def __init__(self, store: Store, dry_run: bool, before: float, progress: Progress) -> None:
        self._store = store
        self._dry_run = dry_run
        self._before = before
        self._progress = progress
        self.removed = {"views": 0, "tmp": 0}
        self.bytes = 0
        self.young = 0

    def files(self, paths: Iterator[Path], needed: set[str]) -> int:
        """Remove files whose names are not in `needed`; return how many files there were."""
        count = 0
        for path in paths:
            if path.name in needed or not self._old(path):
                continue
            size = path.lstat().st_size
            if not self._dry_run:
                path.unlink()
            self._count(size)
            count += 1
        return count

    def views(self, needed: set[str]) -> None:
        """Remove views of unreferenced contents, and spare views; views in use are kept."""
        for folder in _children(self._store.root / "views"):
            views = views_in(folder)
            left = len(views)
            for view in views[1:] if folder.name in needed else views:
                size = _size(view)
                if remove_spare(view, self._before, dry_run=self._dry_run):
                    left -= 1
                    self.removed["views"] += 1
                    self._count(size)
                else:
                    self.young += 1
            if not left and folder.name not in needed and not self._dry_run:
                remove_tree(folder)

    def trees(self, folder: str, needed: set[str]) -> None:
        """Remove folders and files of a folder of the store whose names are not in `needed`."""
        for path in _children(self._store.root / folder):
            if path.name in needed or not self._old(path):
                continue
            size = _size(path)
            if not self._dry_run:
                if path.is_dir() and not path.is_symlink():
                    remove_tree(path)
                else:
                    path.unlink()
            self.removed[folder] += 1
            self._count(size)

    def _old(self, path: Path) -> bool:
        status = path.lstat()
        if max(status.st_mtime, status.st_ctime) <= self._before:
            return True
        self.young += 1
        return False

    def _count(self, size: int) -> None:
        self.bytes += size
        self._progress.advance(1, size)


def _needed(store: Store) -> tuple[set[str], set[str]]:
    """Hex digits of the content digests and objects that existing versions refer to; raises for any damage."""
    findings: list[Finding] = []
    needs = _Needs()
    for _, state in _states(store, findings):
        needs.add(state)
    objects = _manifests(store, needs, findings)
    if findings:
        raise CorruptObject(
            f"{findings[0].file} is damaged or missing, so what it needs is not known",
            got=findings[0].problem,
            done="Nothing was removed",
            tip="`mlflow-dsver store check`; delete the versions that are lost",
        )
    return {hex_of(digest) for digest in needs.versions}, set(objects)


def _states(store: Store, findings: list[Finding]) -> Iterator[tuple[Path, State]]:
    """Each dataset's log and state; damage is added to the findings."""
    for folder in _children(store.root / "datasets"):
        log = folder / "log"
        try:
            state = parse(read_log(log), None)
        except FileNotFoundError:
            continue  # created by a process that was killed before its first write
        except CorruptObject:
            state = _read_again(log, store, findings)
        except OSError as error:
            findings.append(Finding("log", _relative(store, log), error.strerror or str(error)))
            continue
        if state is None:
            continue
        if store.log(state.dataset) != log:
            findings.append(Finding("log", _relative(store, log), f"is that of {state.dataset!r}, misplaced"))
        yield log, state


def _read_again(log: Path, store: Store, findings: list[Finding]) -> State | None:
    """Read a log that looked damaged again, under a lock, so that no write is in progress."""
    try:
        with locked(log, exclusive=False):
            return parse(read_log(log), None)
    except (StoreError, OSError) as error:
        findings.append(Finding("log", _relative(store, log), str(error)))
        return None


def _manifests(store: Store, needs: _Needs, findings: list[Finding]) -> dict[str, tuple[FileEntry, str]]:
    """Objects that kept versions refer to, by digest, each with one content digest that refers to it."""
    objects: dict[str, tuple[FileEntry, str]] = {}
    for digest in sorted(needs.versions):
        try:
            manifest: Manifest = manifest_of(store, digest, needs.versions[digest][0])
            found = file_sum(store.manifest(digest))
            if found not in needs.sums[digest]:
                raise StoreError("its bytes are not those that were written", got=f"sum {found}")
        except (CorruptObject, StoreError) as error:
            path = _relative(store, store.manifest(digest))
            findings.append(Finding("manifest", path, error.got or error.what, tuple(needs.versions[digest][:10])))
            continue
        if digest in needs.kept:
            for entry in manifest.entries:
                objects.setdefault(entry.digest, (entry, digest))
    return objects


def _add_unneeded(store: Store, objects: dict[str, tuple[FileEntry, str]]) -> None:
    """Add unreferenced objects: a later version may reuse them, so they must be intact as well."""
    for prefix in _children(store.root / "objects"):
        for path in _children(prefix):
            if path.name not in objects:
                objects[path.name] = FileEntry("(needed by no version)", path.lstat().st_size, path.name), ""


def _check_views(store: Store, needs: _Needs, findings: list[Finding]) -> int:
    """Hash all views of existing versions; return their number."""
    count = 0
    for digest in sorted(needs.kept):
        for view in views_in(store.view(digest)):
            count += 1
            if not is_intact(view, digest, cache=None):
                problem = "a file in it is not the version's; `path` gives out another, or puts it right"
                findings.append(Finding("view", _relative(store, view), problem, tuple(needs.versions[digest][:10])))
    return count


def _children(folder: Path) -> Iterator[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        yield folder / name


def _size(path: Path) -> int:
    """Bytes of all files in a tree, or of a file."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return status.st_size
    return sum(_size(child) for child in path.iterdir())


def _relative(store: Store, path: Path) -> str:
    return str(path.relative_to(store.root))
