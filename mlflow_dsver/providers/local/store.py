"""The store's layout on disk, its locks, and what the operating system's errors mean there.

    id                          32 hex digits and their checksum: which store this is, wherever it is moved or copied
    format                      which layout this is; written last when a store is made
    lock                        shared by everyone who writes, exclusive for the garbage collector
    objects/ab/<digest>         each content once, read-only, named by its BLAKE3
    manifests/<digest>.jsonl.gz named by the content digest
    datasets/<hash>/log         what happened to a dataset, one line an operation; see `log`
    views/<digest>/files        folders given out by `path`, copies that can be made again
    verified/ab                 stat of objects right after they were hashed; for speed, see `verified`
    tmp/                        unfinished work of living or killed processes

A store that does not exist yet is an empty one for all who read. Locks are the kernel's: they end with the process
that holds them, however it ends. They need `flock`, so Linux or macOS, and a file system that has locks.
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
"""How long to wait for others: a garbage collection may be reading it all, a creation copying much."""

_FOLDERS = ("objects", "manifests", "datasets", "views", "tmp")
_DIGEST = re.compile(r"(?:blake3:)?([0-9a-f]{64})\Z")
_ID = re.compile(rb"([0-9a-f]{32}) ([0-9a-f]{8})\n\Z")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Store:
    """A store in the folder `root`, which need not exist yet."""

    root: Path

    @classmethod
    def default(cls) -> Store:
        """The store of this user, or the one that `MLFLOW_DSVER_HOME` names."""
        return cls(settings.home() / "store")

    def object(self, digest: str) -> str:
        """Where the content of that digest (64 hex digits) is."""
        return f"{self.root}/objects/{digest[:2]}/{digest}"

    def manifest(self, content_digest: str) -> Path:
        """Where the manifest of that content digest is."""
        return self.root / "manifests" / f"{hex_of(content_digest)}.jsonl.gz"

    def log(self, dataset: str) -> Path:
        """Where the log of a dataset is; the folder is named by a hash, so no name can lead elsewhere."""
        from blake3 import blake3

        return self.root / "datasets" / blake3(dataset.encode()).hexdigest()[:32] / "log"

    def view(self, content_digest: str) -> Path:
        """The folder that holds a view of that content; its files are below `files`."""
        return self.root / "views" / hex_of(content_digest)

    def exists(self) -> bool:
        """Whether there is a store; raises StoreError for a layout that this version does not know."""
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
        """Which store this is, 32 hex digits; None for one that has no id yet or whose id cannot be read."""
        try:
            with (self.root / "id").open("rb") as stream:
                found = _ID.match(stream.read(100))
        except OSError:
            return None
        return found[1].decode() if found and _check_of(found[1]) == found[2] else None

    def make(self) -> None:
        """Make the store if there is none, and give it an id if it has none. Raises StoreError."""
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
                lock.unlink(missing_ok=True)  # who waits for it finds the id

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
        """Hold the store open for additions: nothing is collected meanwhile. Makes the store if there is none."""
        self.make()
        with locked(self.root / "lock", exclusive=False):
            yield

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of one's own for unfinished work, in the file system of the store; gone at the end."""
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
    """Hold a lock on a file and give its descriptor, open for reading and, where exclusive, for appending.

    seconds: to wait for others at most; None for LOCK_SECONDS. Raises StoreError when it cannot be had then, or ever.
    """
    if not has_locks():
        raise StoreError("the local store needs the file locks of Linux or macOS", got=f"the system {os.name!r}")
    flags = (os.O_RDWR | os.O_APPEND if exclusive else os.O_RDONLY) | (os.O_CREAT if create else 0)
    seconds = LOCK_SECONDS if seconds is None else seconds
    with meanings(f"the lock {path} cannot be had"):
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)  # a pipe would block
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
    """Turn an OSError of the block into a StoreError that begins with `what`; errors of our own pass through."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if type(error).__module__.startswith("mlflow_dsver."):
            raise
        raise meaning(error, what) from error


def meaning(error: OSError, what: str) -> StoreError:
    """The StoreError for what the operating system said."""
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
    """Remove a folder of this store, read-only folders in it included; nothing when it is gone. OSError passes."""
    for parent, names, _ in os.walk(folder):
        for name in names:
            child = Path(parent, name)
            if not child.is_symlink() and not child.stat().st_mode & stat.S_IWUSR:
                child.chmod(0o700)
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
