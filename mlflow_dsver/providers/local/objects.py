"""How content is added to the store, once per digest, and how it is read back.

Adding: a file is read once, hashed and written in the same pass to a scratch folder of the creating process. Nothing
is visible before `publish`, which flushes all of it to disk, renames it, and flushes the renames: for many objects
with one flush of the file system, because a flush for each of 50,000 small files takes minutes. An existing object is
trusted when its stat is unchanged since it was hashed (see `verified_stats`), otherwise it is read; a damaged one is
replaced by the new bytes. Reading: bytes are hashed while they are copied, and a copy that does not match its digest
is never returned. Holes of sparse files are preserved. Where the file system shares blocks between files (reflink),
copies of large files need no space.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlflow_dsver.content.atomic_files import flush, safe_join, sync_file_system, sync_folder
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.errors import ContentError, CorruptObject, StoreError
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.providers.local.sparse import HoleWriter, is_sparse
from mlflow_dsver.providers.local.store import Store, meaning, meanings
from mlflow_dsver.providers.local.verified_stats import VerifiedObjects, file_system_clock, read_if_right
from mlflow_dsver.text import os_text

SMALL = 1 << 20
"""Maximum bytes of a file that is read into memory, so that nothing is written when the store has its content."""

BLOCK = 256 << 10
"""Bytes read, hashed and written at a time for larger files; with pieces of 1 MiB, ext4 takes three times as long."""

LARGE = 64 << 20
"""Minimum bytes of a file that is flushed right after its copy, while others are still read."""

FEW = 32
"""Up to this number, objects are flushed one by one; more are flushed with the whole file system."""

NO_LINKS: Mapping[str, Path] = {}

_FICLONE = 0x40049409  # linux/fs.h
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
READ = os.O_RDONLY | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Ingest:
    """Content being added to the store from one folder, under the lock of `Store.writing`.

    `take` is the callback for `hash_folder`; `complete` adds the files that were not read there; `publish` makes them
    visible.
    """

    def __init__(self, store: Store, scratch: Path) -> None:
        self._store = store
        self._scratch = str(scratch)
        self._numbers = itertools.count()
        self._pending: dict[str, int] = {}  # digest to the number of its file in the scratch folder
        self._found: set[str] = set()  # folders with existing objects of other processes, perhaps not flushed yet
        self._sound: set[str] = set()  # existing objects that were checked
        self._verified = VerifiedObjects(store)
        self._read: list[tuple[str, os.stat_result]] = []  # objects that were read and are intact
        with meanings("the store cannot be written"):
            self._clock = file_system_clock(scratch)
        self._reflink = True

    def take(self, descriptor: int, status: os.stat_result, path: str) -> str:
        """Hash an open file and keep its content; thread-safe. Raises ContentError, StoreError."""
        from blake3 import blake3

        if status.st_size > SMALL:
            return self._stream(descriptor, status, path)
        content = _read_small(descriptor, status.st_size, path)
        digest: str = blake3(content).hexdigest()
        if not self._known(digest):
            with meanings(f"{path} cannot be kept"):
                number = next(self._numbers)
                target = os.open(self._file(number), _WRITE, 0o444)
                try:
                    writer = HoleWriter(target, fine=is_sparse(status))
                    writer.write(content)
                    writer.finish()
                finally:
                    os.close(target)
            self._keep(digest, number)
        return digest

    def complete(self, folder: Path, manifest: Manifest) -> None:
        """Add from the folder what the store does not have, or lost meanwhile.

        Raises ContentError when a file changed since it was hashed.
        """
        expected = {entry.digest for entry in manifest.entries} - self._pending.keys() - self._sound
        self._sound |= self._verified.untouched(expected)
        for entry in manifest.entries:
            if self._known(entry.digest):
                continue
            address = safe_join(folder, entry.path)
            try:
                descriptor = os.open(address, READ | os.O_NONBLOCK)
            except OSError as error:
                raise _unreadable(entry.path, error) from error
            try:
                digest = self.take(descriptor, os.fstat(descriptor), entry.path)
            finally:
                os.close(descriptor)
            if digest != entry.digest:
                raise _changed(entry.path)

    def publish(self) -> None:
        """Flush all content to disk, then rename it into place, then flush the renames."""
        with meanings("objects cannot be kept"):
            many = len(self._pending) > FEW
            self._flush_content(many)
            folders = {digest[:2] for digest in self._pending}
            made = [prefix for prefix in sorted(folders) if self._make_folder(prefix)]
            for digest, number in self._pending.items():
                os.rename(self._file(number), self._store.object(digest))  # noqa: PTH104  (50,000 of them)
            self._flush_names(folders | self._found, bool(made))
            self._remember()
        self._pending.clear()

    def _stream(self, descriptor: int, status: os.stat_result, path: str) -> str:
        """Clone or copy a large file into the scratch folder, hashing the copy."""
        number = next(self._numbers)
        try:
            target = os.open(self._file(number), _WRITE, 0o444)
        except OSError as error:
            raise meaning(error, f"{path} cannot be kept") from error
        try:
            if self._reflink and reflink(descriptor, target):
                digest, _ = copy_hashed(target, None, path)
            else:
                self._reflink = False
                digest, _ = copy_hashed(descriptor, target, path)
            if status.st_size > LARGE:
                with meanings(f"{path} cannot be kept"):
                    flush(target)
        finally:
            os.close(target)
        if self._known(digest, read=False):  # keeping the copy is cheaper than reading the object
            os.unlink(self._file(number))  # noqa: PTH108
        else:
            self._keep(digest, number)
        return digest

    def _known(self, digest: str, *, read: bool = True) -> bool:
        """Whether the store has this content. read: hash an object again whose stat changed since it was hashed."""
        if digest in self._pending or digest in self._sound:
            return True
        try:
            status = os.lstat(self._store.object(digest))
        except OSError:
            return False
        if not self._verified.unchanged(f"{digest[:2]}/{digest}", status):
            found = read_if_right(self._store.object(digest), digest) if read else None
            if found is None:
                return False
            self._read.append((digest, found))
        self._found.add(digest[:2])
        self._sound.add(digest)
        return True

    def _remember(self) -> None:
        """Record the stat of intact objects, so that they need not be read until they change."""
        self._verified.remember(self._read, self._clock)
        self._read.clear()
        if not self._pending:
            return
        newest = next(reversed(self._pending))
        clock = file_system_clock(Path(self._scratch), os.lstat(self._store.object(newest)).st_ctime_ns)
        self._verified.remember(((digest, os.lstat(self._store.object(digest))) for digest in self._pending), clock)

    def _keep(self, digest: str, number: int) -> None:
        if self._pending.setdefault(digest, number) != number:  # another thread added the same content meanwhile
            os.unlink(self._file(number))  # noqa: PTH108

    def _flush_content(self, many: bool) -> None:
        if not self._pending or (many and sync_file_system(self._store.root)):
            return
        for number in self._pending.values():
            descriptor = os.open(self._file(number), READ)
            try:
                flush(descriptor)
            finally:
                os.close(descriptor)

    def _flush_names(self, prefixes: set[str], made: bool) -> None:
        if len(prefixes) > FEW and sync_file_system(self._store.root):
            return
        for prefix in sorted(prefixes):
            sync_folder(self._store.root / "objects" / prefix)
        if made:
            sync_folder(self._store.root / "objects")

    def _make_folder(self, prefix: str) -> bool:
        try:
            os.mkdir(f"{self._store.root}/objects/{prefix}")  # noqa: PTH102
        except FileExistsError:
            return False
        return True

    def _file(self, number: int) -> str:
        return f"{self._scratch}/{number}"


def give_out(
    store: Store,
    entries: Iterable[FileEntry],
    target: Path,
    *,
    read_only: bool,
    progress: Progress,
    links: Mapping[str, Path] = NO_LINKS,
) -> None:
    """Copy objects to their paths below an empty folder, each checked. Raises CorruptObject, StoreError.

    links: files, by path, that were just found to hold those bytes; they are hard-linked where possible.
    """
    folders = {""}
    for entry in entries:
        if entry.path in links and _linked(links[entry.path], entry, target, folders):
            progress.advance(1, entry.bytes)
            continue
        source = _open_object(store, entry)
        try:
            place(source, entry, target, folders, read_only=read_only)
        except Mismatch as error:
            raise corrupt(store, entry, str(error)) from None
        finally:
            os.close(source)
        progress.advance(1, entry.bytes)
    if read_only:
        for folder in sorted(folders, reverse=True):
            (target / os_text(folder)).chmod(0o555)


def _linked(known: Path, entry: FileEntry, target: Path, folders: set[str]) -> bool:
    """Hard-link a read-only file; whether that succeeded."""
    try:
        status = known.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o222 or status.st_size != entry.bytes:
            return False
        _make_parents(target, entry.path.rpartition("/")[0], folders)
        os.link(known, safe_join(target, entry.path), follow_symlinks=False)
    except OSError:  # too many links, no permission, no hard links here; a name that exists is reported by the copy
        return False
    return True


class Mismatch(Exception):
    """The content that was found in place of the expected one."""


def place(source: int, entry: FileEntry, target: Path, folders: set[str], *, read_only: bool) -> None:
    """Copy an open file to its path below target, hashing the bytes; `folders`: those below target created so far."""
    path = safe_join(target, entry.path)
    with meanings(f"{entry.path} cannot be written"):
        try:
            _make_parents(target, entry.path.rpartition("/")[0], folders)
            copy = os.open(path, _WRITE | getattr(os, "O_NOFOLLOW", 0), 0o444 if read_only else 0o666)
        except FileExistsError as error:
            raise StoreError(
                f"{entry.path} and another name of the version are the same to the file system of {target}",
                expected="a file system that tells names apart that differ in case or normal form only",
                done="Nothing was left there",
                tip="another folder",
            ) from error
        try:
            if entry.bytes > SMALL and reflink(source, copy):
                digest, size = copy_hashed(copy, None, entry.path)
            else:
                digest, size = copy_hashed(source, copy, entry.path)
        finally:
            os.close(copy)
    if (digest, size) != (entry.digest, entry.bytes):
        raise Mismatch(f"blake3:{digest} of {size} bytes")


def _make_parents(target: Path, folder: str, folders: set[str]) -> None:
    """Create a folder below target and its parents, unless they are in `folders`."""
    if folder not in folders:
        _make_parents(target, folder.rpartition("/")[0], folders)
        (target / os_text(folder)).mkdir()
        folders.add(folder)


def copy_hashed(source: int, target: int | None, path: str) -> tuple[str, int]:
    """Copy a file to target, if given; return BLAKE3 and size of the bytes read.

    Raises ContentError when it cannot be read, StoreError when it cannot be written.
    """
    from blake3 import blake3

    status = os.fstat(source)
    writer = None if target is None else HoleWriter(target, fine=is_sparse(status))
    hasher = blake3()  # one thread hashes faster than files can be copied; more would compete for the processors
    buffer = memoryview(bytearray(min(status.st_size + 1, BLOCK)))
    size = 0
    while True:
        try:
            count = os.readv(source, [buffer])
        except OSError as error:
            raise _unreadable(path, error) from error
        hasher.update(buffer[:count])
        size += count
        if writer is not None:
            try:
                writer.write(buffer[:count]) if count else writer.finish()
            except OSError as error:
                raise meaning(error, f"{path} cannot be written") from error
        if not count:
            return hasher.hexdigest(), size


def object_state(store: Store, entry: FileEntry) -> str | None:
    """The damage of an object, found by reading all of it; None when it is intact."""
    try:
        source = _open_object(store, entry)
    except StoreError as error:
        return error.got or error.what
    try:
        digest, size = copy_hashed(source, None, entry.path)
    except ContentError as error:
        return error.got or error.what
    finally:
        os.close(source)
    return None if (digest, size) == (entry.digest, entry.bytes) else f"blake3:{digest} of {size} bytes"


def corrupt(store: Store, entry: FileEntry, got: str) -> CorruptObject:
    """The error for an object that does not match its digest."""
    return CorruptObject(
        f"the content of {entry.path} is damaged in the store ({store.object(entry.digest)})",
        expected=f"blake3:{entry.digest} of {entry.bytes} bytes",
        got=got,
        done="Nothing was served",
        tip="the file from a backup, or remove it, delete the version and create it again from its folder",
    )


def reflink(source: int, target: int) -> bool:
    """Share the blocks of an open file with an empty one; False where the file system does not support that."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _NO_REFLINK:
            return False
        raise meaning(error, "blocks cannot be shared") from error
    return True


def _open_object(store: Store, entry: FileEntry) -> int:
    try:
        return os.open(store.object(entry.digest), READ | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise corrupt(store, entry, error.strerror or "an error") from error


def _read_small(descriptor: int, size: int, path: str) -> bytes:
    try:
        content = os.read(descriptor, size + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) != size:
        raise _changed(path)
    return content


def _unreadable(path: str, error: OSError) -> ContentError:
    return ContentError(f"{path} cannot be read", paths=(path,), got=error.strerror, done="Nothing was added")


def _changed(path: str) -> ContentError:
    return ContentError(
        f"{path} changed while it was read",
        paths=(path,),
        done="Nothing was added",
        tip="again when nobody writes to the folder",
    )
