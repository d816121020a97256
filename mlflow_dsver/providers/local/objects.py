"""How bytes come into the store, each content once, and how they are read back.

Coming in, a file is read a single time: hashed and written in the same pass, to a scratch folder of the creating
process. Nothing of it counts before `publish`, which makes all of it durable, renames it to its names, and makes
these durable: for many objects with one flush of the file system, because a flush for each of 50,000 small files
takes minutes. An object that the store has already is believed when it is untouched since it was hashed (see
`verified`), else read; a damaged one is replaced by the bytes that come. Going out, bytes are hashed while they are
copied, and a copy that is not what its name promises is never handed on. Holes of sparse files stay holes. Where the
file system shares blocks between files (reflink), copies of large files cost nothing.
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
from mlflow_dsver.os_names import os_text
from mlflow_dsver.providers.local.sparse import HoleWriter, is_sparse
from mlflow_dsver.providers.local.store import Store, meaning, meanings
from mlflow_dsver.providers.local.verified import VerifiedObjects, file_system_clock, read_if_right

SMALL = 1 << 20
"""Bytes up to which a file is read whole, so that nothing is written when the store has its content already."""

BLOCK = 256 << 10
"""Bytes read, hashed and written at a time beyond that; written in pieces of 1 MiB, ext4 takes thrice the time."""

LARGE = 64 << 20
"""Bytes from which on a file is flushed as soon as it was copied, while others are still read."""

FEW = 32
"""Up to so many objects are flushed one by one; more, with all else that was written to the file system."""

NO_LINKS: Mapping[str, Path] = {}

_FICLONE = 0x40049409  # linux/fs.h
_NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
READ = os.O_RDONLY | os.O_CLOEXEC
_WRITE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Ingest:
    """Content on its way into the store, from one folder, under the lock of `Store.writing`.

    `take` is for `hash_folder`; `complete` fetches what was not read there; `publish` makes it all count.
    """

    def __init__(self, store: Store, scratch: Path) -> None:
        self._store = store
        self._scratch = str(scratch)
        self._numbers = itertools.count()
        self._pending: dict[str, int] = {}  # digest to the number of its file in the scratch folder
        self._found: set[str] = set()  # folders with objects that others brought, perhaps just now
        self._sound: set[str] = set()  # objects of the store that were looked at
        self._verified = VerifiedObjects(store)
        self._read: list[tuple[str, os.stat_result]] = []  # objects that had to be read, and are right
        with meanings("the store cannot be written"):
            self._clock = file_system_clock(scratch)
        self._reflink = True

    def take(self, descriptor: int, status: os.stat_result, path: str) -> str:
        """Hash an open file and keep its content; threads may call it. Raises ContentError, StoreError."""
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
        """Fetch from the folder what the store has not yet, or not any more.

        Raises ContentError when a file is not what it was.
        """
        wanted = {entry.digest for entry in manifest.entries} - self._pending.keys() - self._sound
        self._sound |= self._verified.untouched(wanted)
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
        """Make all content durable, then name it, then make the names durable."""
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
        """Clone or copy a large file into the scratch folder, hashing what arrived."""
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
        if self._known(digest, read=False):  # to keep the copy costs less than to read the object
            os.unlink(self._file(number))  # noqa: PTH108
        else:
            self._keep(digest, number)
        return digest

    def _known(self, digest: str, *, read: bool = True) -> bool:
        """Whether the store has this content. read: an object that was touched since it was hashed is read."""
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
        """Note that the objects hold the right bytes, so that they need not be read until they are touched."""
        self._verified.remember(self._read, self._clock)
        self._read.clear()
        if not self._pending:
            return
        newest = next(reversed(self._pending))
        clock = file_system_clock(Path(self._scratch), os.lstat(self._store.object(newest)).st_ctime_ns)
        self._verified.remember(((digest, os.lstat(self._store.object(digest))) for digest in self._pending), clock)

    def _keep(self, digest: str, number: int) -> None:
        if self._pending.setdefault(digest, number) != number:  # another thread had the same content meanwhile
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

    links: files, by path, that were just seen to hold those bytes; a hard link to them is made where that can be.
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
    """Whether a hard link to a read-only file could be made."""
    try:
        status = known.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o222 or status.st_size != entry.bytes:
            return False
        _make_parents(target, entry.path.rpartition("/")[0], folders)
        os.link(known, safe_join(target, entry.path), follow_symlinks=False)
    except OSError:  # too many links, another user's file, no links here; or a name that exists, which a copy reports
        return False
    return True


class Mismatch(Exception):
    """What was found instead of the promised bytes."""


def place(source: int, entry: FileEntry, target: Path, folders: set[str], *, read_only: bool) -> None:
    """Copy an open file to its path below target, hashing what arrives; `folders` below it are those made here."""
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
    """Make a folder below target and its parents, unless they were made here before."""
    if folder not in folders:
        _make_parents(target, folder.rpartition("/")[0], folders)
        (target / os_text(folder)).mkdir()
        folders.add(folder)


def copy_hashed(source: int, target: int | None, path: str) -> tuple[str, int]:
    """Read a file to its end and write it to target, if any; BLAKE3 and size of what was read.

    Raises ContentError when it cannot be read, StoreError when it cannot be written.
    """
    from blake3 import blake3

    status = os.fstat(source)
    writer = None if target is None else HoleWriter(target, fine=is_sparse(status))
    hasher = blake3()  # one thread hashes faster than files can be copied; more would take turns on the processors
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
    """What is wrong with an object when all of it is read; None for nothing."""
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
    """The error for an object that is not what its name promises."""
    return CorruptObject(
        f"the content of {entry.path} is damaged in the store ({store.object(entry.digest)})",
        expected=f"blake3:{entry.digest} of {entry.bytes} bytes",
        got=got,
        done="Nothing was served",
        tip="the file from a backup, or remove it, delete the version and create it again from its folder",
    )


def reflink(source: int, target: int) -> bool:
    """Share the blocks of an open file with an empty one; False where the file system cannot."""
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
