"""The store's layout on disk, its locks, and the mapping of operating system errors.

id                          32 hex digits and their checksum: identifies the store wherever it is moved or copied
format                      version of this layout; written last when a store is created
lock                        shared by all writers, exclusive for the garbage collector
objects/ab/<digest>         each content once, read-only, named by its BLAKE3
manifests/<digest>.jsonl.gz named by the content digest
datasets/<hash>/log         the operations on a dataset, one per line; see `log`
views/<digest>/files        folders that `path` returns, copies that can be recreated
verified/ab                 stat of objects right after they were hashed; a cache, see `verified_stats`
tmp/                        unfinished work of running or killed processes

Readers treat a missing store as an empty one. Locks are the kernel's: they end with the process that holds them, even
when it is killed. They need `flock`, so Linux or macOS, and a file system that supports locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import atomic_write, make_folder
from mlflow_dsver.content.file_locks import has_locks, unlock, wait_for_lock
from mlflow_dsver.errors import StoreError

try:
    import fcntl
except ImportError:  # Windows: `locked` says so
    fcntl = None  # type: ignore[assignment]

FORMAT = b"mlflow-dsver local store, layout 1\n"
LOCK_SECONDS = 600.0
"""How long to wait for a lock: a garbage collection may read the whole store, a creation may copy much data."""

_FOLDERS = ("objects", "manifests", "datasets", "views", "tmp")
_DIGEST = re.compile(r"(?:blake3:)?([0-9a-f]{64})\Z")
_ID = re.compile(rb"([0-9a-f]{32}) ([0-9a-f]{8})\n\Z")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Store:
    """A store in the folder `root`, which may not exist yet."""

    root: Path

    @classmethod
    def default(cls) -> Store:
        """The user's default store, or the one in `MLFLOW_DSVER_HOME`."""
        return cls(settings.home() / "store")

    def object(self, digest: str) -> str:
        """The path of the content with that digest (64 hex digits)."""
        return f"{self.root}/objects/{digest[:2]}/{digest}"

    def manifest(self, content_digest: str) -> Path:
        """The path of the manifest of that content digest."""
        return self.root / "manifests" / f"{hex_of(content_digest)}.jsonl.gz"

    def log(self, dataset: str) -> Path:
        """The path of a dataset's log; the folder is named by a hash, so no dataset name can escape the store."""
        from blake3 import blake3

        return self.root / "datasets" / blake3(dataset.encode()).hexdigest()[:32] / "log"

    def view(self, content_digest: str) -> Path:
        """The folder of a content's view; its files are below `files`."""
        return self.root / "views" / hex_of(content_digest)

    def exists(self) -> bool:
        """Whether the store exists; raises StoreError for a layout that this package version does not know."""
        try:
            found = (self.root / "format").read_bytes()[:200]
        except (FileNotFoundError, NotADirectoryError):
            if any((self.root / "datasets").glob("*")):
                raise StoreError(
                    f"the store {self.root} has datasets and no format file",
                    expected="a file that names the layout",
                    done="Nothing was read or changed",
                    tip="restore the file `format` from a backup or from another store",
                ) from None
            return False
        except OSError as error:
            raise meaning(error, f"the store {self.root} cannot be read") from error
        if found != FORMAT:
            raise StoreError(
                f"the store {self.root} has a layout that this version does not know",
                expected=ascii(FORMAT.decode().strip()),
                got=ascii(found.decode(errors="replace").strip()),
                done="Nothing was read or changed",
                tip="a newer mlflow-dsver, or another MLFLOW_DSVER_HOME",
            )
        return True

    def id(self) -> str | None:
        """The store's id, 32 hex digits; None when it has none yet or it cannot be read."""
        try:
            with (self.root / "id").open("rb") as stream:
                found = _ID.match(stream.read(100))
        except OSError:
            return None
        return found[1].decode() if found and _check_of(found[1]) == found[2] else None

    def make(self) -> None:
        """Create the store, and its id, where missing. Raises StoreError."""
        self._make_folders()
        if not (self.root / "id").exists():
            lock = self.root / "tmp" / "id.lock"
            with (
                locked(lock, exclusive=True, create=True),
                meanings(f"the store {self.root} cannot be given an id"),
            ):
                if not (self.root / "id").exists():
                    new = secrets.token_hex(16).encode()
                    with atomic_write(self.root / "id") as stream:
                        stream.write(new + b" " + _check_of(new) + b"\n")
                lock.unlink(missing_ok=True)  # a process that waits for this lock finds the id afterwards

    def _make_folders(self) -> None:
        if self.exists():
            return
        with meanings(f"the store {self.root} cannot be made"):
            for name in _FOLDERS:
                make_folder(self.root / name)
            os.close(os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
            with atomic_write(self.root / "format") as stream:
                stream.write(FORMAT)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the store's shared lock for writing, which blocks garbage collection. Creates the store if missing."""
        self.make()
        with locked(self.root / "lock", exclusive=False):
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private folder for unfinished work, on the store's file system; removed at the end."""
        folder = self.root / "tmp" / f"{os.getpid()}-{secrets.token_hex(8)}"
        with meanings(f"the store {self.root} cannot be written"):
            folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                remove_tree(folder)


def _check_of(store_id: bytes) -> bytes:
    from blake3 import blake3

    return bytes(blake3(store_id).hexdigest()[:8], "ascii")


def hex_of(content_digest: str) -> str:
    """The 64 hex digits of a digest; raises StoreError for anything else."""
    found = _DIGEST.match(content_digest)
    if not found:
        raise StoreError("not a content digest", expected="blake3: and 64 hex digits", got=ascii(content_digest)[:90])
    return found[1]


@contextmanager
def locked(path: Path, *, exclusive: bool, seconds: float | None = None, create: bool = False) -> Iterator[int]:
    """Hold a lock on a file and yield its descriptor, open for reading and, where exclusive, for appending.

    seconds: maximum wait for other holders; None for LOCK_SECONDS. Raises StoreError on time-out, and where the file
    cannot be locked.
    """
    if not has_locks():
        raise StoreError("the local store needs the file locks of Linux or macOS", got=f"the system {os.name!r}")
    flags = (os.O_RDWR | os.O_APPEND if exclusive else os.O_RDONLY) | (os.O_CREAT if create else 0)
    seconds = LOCK_SECONDS if seconds is None else seconds
    with meanings(f"the lock {path} cannot be had"):
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)  # NONBLOCK: a pipe would block
    try:
        with meanings(f"the lock {path} cannot be had"):
            if not wait_for_lock(descriptor, seconds, exclusive=exclusive):
                raise StoreError(
                    f"others have held {path} for {seconds:g} seconds",
                    done="Nothing was changed",
                    tip="again when they are done; `fuser` or `lsof` on that file shows them",
                )
        try:
            yield descriptor
        finally:
            unlock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def meanings(what: str) -> Iterator[None]:
    """Map an OSError of the block to a StoreError that begins with `what`; this package's errors propagate."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if type(error).__module__.startswith("mlflow_dsver."):
            raise
        raise meaning(error, what) from error


def meaning(error: OSError, what: str) -> StoreError:
    """The StoreError for an operating system error."""
    got = error.strerror or type(error).__name__
    if error.filename is not None:
        got += f" ({error.filename})"
    if error.errno in _FULL:
        return StoreError(
            f"{what}: the disk is full", got=got, done="Nothing was added", tip="free space, then the same again"
        )
    if error.errno in _FORBIDDEN:
        tip = "another user, a writable disk, or another MLFLOW_DSVER_HOME"
        return StoreError(f"{what}: writing or reading is not allowed", got=got, done="Nothing was changed", tip=tip)
    return StoreError(what, got=got)


def remove_tree(folder: Path) -> None:
    """Remove a folder of this store, also with read-only folders; a missing one is ignored. OSError propagates."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            child = Path(parent, name)
            if not child.is_symlink() and not child.stat().st_mode & stat.S_IWUSR:
                child.chmod(0o700)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
