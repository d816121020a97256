"""The read-only folders that `path` returns for kept versions: exactly the version's files, stable while a job uses
them.

views/<digest>/files, files-2, …     folders with the same content, and beside each its `.lock`

A process that was given a view holds a shared lock on it until the process ends; so do its forked children. A view
that was written to (root ignores file modes) is not returned again unrepaired. While a process uses it, it is left as
it is, and other processes get a new view, of hard links to its intact files, so that only names take space. When no
process uses it any more, it is repaired in place: additional files are removed, changed ones are restored from the
objects.

Views are copies that share nothing with the objects, so writing to a view cannot damage the store.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow_dsver.content.atomic_files import safe_join
from mlflow_dsver.content.file_locks import has_locks, try_lock
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.patterns import EVERYTHING, IGNORE_FILE
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.stat_cache import StatCache, default_cache
from mlflow_dsver.errors import ContentError
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.providers.local.objects import give_out
from mlflow_dsver.providers.local.store import Store, hex_of, locked, meanings, remove_tree

try:
    import fcntl
except ImportError:  # Windows: `Store.writing` says so
    fcntl = None  # type: ignore[assignment]

FIRST = "files"
SPARE_AGE = 3600.0
"""Seconds after which an unused additional view is removed."""

_held: dict[Path, int] = {}  # view to the descriptor with this process's lock; forked processes share it
_latest: dict[Path, Path] = {}  # folder of a content's views to the view that `path` returned last


def view_of(store: Store, manifest: Manifest, progress: Progress) -> Path:
    """The read-only folder with a kept version's files, locked by this process until it ends.

    Raises CorruptObject, StoreError.
    """
    folder = store.view(manifest.digest)
    view = _intact(folder, manifest, progress)
    if view is None:
        with store.writing(), store.scratch() as scratch:
            mutex = store.root / "tmp" / f"view-{hex_of(manifest.digest)}.lock"
            with locked(mutex, exclusive=True, create=True), meanings(f"a view in {folder} cannot be made"):
                view = (
                    _intact(folder, manifest, progress)  # another process may have created it meanwhile
                    or _mended(store, folder, manifest, scratch, progress)
                    or _made(store, folder, manifest, scratch, progress)
                )
                _remove_spares(folder)
    _latest[folder] = view
    return view


def checked_out_view(store: Store, content_digest: str) -> Path | None:
    """The view that this process was given last, else the first one; None when there is none."""
    folder = store.view(content_digest)
    view = _latest.get(folder, folder / FIRST)
    return view if view.is_dir() else None


def views_in(folder: Path) -> list[Path]:
    """All views in the folder of a content, the first one at the beginning."""
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    views = (name for name in names if name == FIRST or name.startswith(f"{FIRST}-"))
    return [folder / name for name in sorted(views, key=lambda name: (len(name), name))]


def is_intact(view: Path, digest: str, *, cache: StatCache | None, progress: Progress = SILENT) -> bool:
    """Whether a view holds exactly the content of that digest; cache: None reads all files."""
    if not view.is_dir() or view.is_symlink() or os.path.lexists(view / IGNORE_FILE):
        return False
    try:
        return hash_folder(view, rules=EVERYTHING, cache=cache, progress=progress).digest == digest
    except ContentError:
        return False


def release_views() -> None:
    """Release all views that this process was given."""
    for view in list(_held):
        _unmark(view)
    _latest.clear()


@contextmanager
def _unused(view: Path, *, look_only: bool = False) -> Iterator[bool]:
    """Whether no process uses a view, this one included; the block holds a lock that keeps others from using it.

    look_only: write nothing, not even a missing lock file, which no process can hold.
    """
    if view in _held:
        yield False
        return
    if look_only and not _lock_file(view).exists():
        yield True
        return
    descriptor = _open_lock(view)
    try:
        yield descriptor is not None and _lock(descriptor, exclusive=True) is True
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _intact(folder: Path, manifest: Manifest, progress: Progress) -> Path | None:
    """An intact view, locked by this process; None when there is none."""
    for view in views_in(folder):
        new = view not in _held
        if _mark(view):
            if is_intact(view, manifest.digest, cache=default_cache(), progress=progress):
                return view
            if new:
                _unmark(view)
    return None


def _mended(store: Store, folder: Path, manifest: Manifest, scratch: Path, progress: Progress) -> Path | None:
    """An unused view, repaired; None when there is none."""
    for view in views_in(folder):
        with _unused(view) as free, suppress(PermissionError):  # another user's view cannot be repaired
            if not free:
                continue
            _remove_foreign(view, manifest)
            sound = _sound_files(view, progress)
            wrong = [entry for entry in manifest.entries if sound.get(entry.path) != entry.digest]
            fresh = scratch / f"mended-{view.name}"
            fresh.mkdir()
            give_out(store, wrong, fresh, read_only=False, progress=progress)
            for entry in wrong:
                target = safe_join(view, entry.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                safe_join(fresh, entry.path).rename(target)
            _make_read_only(view)
        if _mark(view) and is_intact(view, manifest.digest, cache=default_cache()):
            return view
        _unmark(view)
    return None


def _made(store: Store, folder: Path, manifest: Manifest, scratch: Path, progress: Progress) -> Path:
    """A new view, of links to the intact files of a view in use, and of copies of the objects."""
    present = views_in(folder)
    sound = _sound_files(present[0], progress) if present else {}
    links = {
        entry.path: safe_join(present[0], entry.path)
        for entry in manifest.entries
        if sound.get(entry.path) == entry.digest
    }
    files = scratch / FIRST
    files.mkdir()
    progress.total(len(manifest), manifest.total_bytes)
    give_out(store, manifest.entries, files, read_only=True, progress=progress, links=links)
    files.chmod(0o755)  # renaming a folder into another one requires write permission on it
    folder.mkdir(parents=True, exist_ok=True)
    taken = {view.name for view in present}
    view = next(folder / name for name in _names() if name not in taken and not os.path.lexists(folder / name))
    files.rename(view)
    view.chmod(0o555)
    _mark(view)
    return view


def _names() -> Iterator[str]:
    yield FIRST
    number = 2
    while True:
        yield f"{FIRST}-{number}"
        number += 1


def _remove_spares(folder: Path) -> None:
    """Remove additional views that were unused for SPARE_AGE."""
    for view in views_in(folder)[1:]:
        remove_spare(view, time.time() - SPARE_AGE)


def remove_spare(view: Path, before: float, *, dry_run: bool = False) -> bool:
    """Remove an unused view that was last returned before that time; whether it was, or would be, removed."""
    lock = _lock_file(view)
    with suppress(OSError):
        given_out = (lock if lock.exists() else view).lstat()
        if max(given_out.st_mtime, given_out.st_ctime) > before:
            return False
        with _unused(view, look_only=dry_run) as free:
            if free and not dry_run:
                remove_tree(view)
                lock.unlink(missing_ok=True)
            return free
    return False


def _sound_files(view: Path, progress: Progress) -> dict[str, str]:
    """Path to digest of the files of a view; empty when it cannot be hashed."""
    try:
        found = hash_folder(view, rules=EVERYTHING, cache=default_cache(), progress=progress)
    except ContentError:
        return {}
    return {entry.path: entry.digest for entry in found.entries}


def _remove_foreign(view: Path, manifest: Manifest) -> None:
    """Remove everything that is not a file at a path of the manifest, and make the folders writable. OSError
    propagates.
    """
    paths = {entry.path.encode() for entry in manifest.entries}
    folders: set[bytes] = set()
    for path in paths:
        above = path.rpartition(b"/")[0]
        while above and above not in folders:
            folders.add(above)
            above = above.rpartition(b"/")[0]
    view.chmod(0o755)
    start = len(os.fsencode(view)) + 1
    for parent, names, files in os.walk(os.fsencode(view)):
        for name in list(names):
            child = Path(os.fsdecode(parent), os.fsdecode(name))
            if (parent + b"/" + name)[start:] in folders and not child.is_symlink():
                child.chmod(0o755)
            else:
                names.remove(name)
                _remove(child)
        for name in files:
            child = Path(os.fsdecode(parent), os.fsdecode(name))
            if (parent + b"/" + name)[start:] not in paths or not stat.S_ISREG(child.lstat().st_mode):
                _remove(child)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o755)
        remove_tree(path)
    else:
        path.unlink()


def _make_read_only(view: Path) -> None:
    for parent, _, names in os.walk(view):
        for name in names:
            child = Path(parent, name)
            if child.stat().st_mode & 0o222:  # a chmod would change the ctime of a file that other views share
                child.chmod(0o444)
        Path(parent).chmod(0o555)


# Locks


def _lock_file(view: Path) -> Path:
    return view.with_name(f"{view.name}.lock")


def _open_lock(view: Path) -> int | None:
    """The lock file of a view, created if missing; None where it can neither be read nor created."""
    for flags in (os.O_RDWR | os.O_CREAT, os.O_RDONLY):
        with suppress(OSError):
            return os.open(_lock_file(view), flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    return None


def _lock(descriptor: int, *, exclusive: bool) -> bool | None:
    """Try to lock, without waiting; whether that succeeded; None where the file system has no locks."""
    try:
        return try_lock(descriptor, exclusive=exclusive)
    except OSError:
        return None


def _mark(view: Path) -> bool:
    """Mark a view as used by this process; False while another process repairs it, and when it was removed.

    Where no lock is available, as on a read-only disk, no process can change the view either.
    """
    if view in _held:
        return view.is_dir()
    descriptor = _open_lock(view) if has_locks() else None
    if descriptor is None:
        return view.is_dir()
    had = _lock(descriptor, exclusive=False)
    if had and _is_current(descriptor, view):
        with suppress(OSError):
            os.utime(descriptor)
        if _held.setdefault(view, descriptor) != descriptor:  # another thread was faster
            os.close(descriptor)
        return True
    os.close(descriptor)
    return had is None and view.is_dir()


def _is_current(descriptor: int, view: Path) -> bool:
    """Whether view and lock file still exist: they may have been removed before the lock was acquired."""
    try:
        return os.path.samestat(os.fstat(descriptor), _lock_file(view).stat()) and view.is_dir()
    except OSError:
        return False


def _unmark(view: Path) -> None:
    descriptor = _held.pop(view, None)
    if descriptor is not None:
        os.close(descriptor)
