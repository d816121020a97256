"""Fetches the files of a version into a folder: in parallel, resumable, and whole or not at all.

How a file is read is the provider's (`ReadFile`). Sizes and all checksums that can be computed here are compared
while the bytes arrive. What was fetched before a failure or a kill stays beside the target, and the next call goes on
from it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_dsver.content.atomic_files import check_new_folder, safe_join, sync_folder
from mlflow_dsver.content.checksums import Checksums, compared
from mlflow_dsver.content.file_locks import wait_for_lock
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.errors import CorruptObject, InvalidArgument, StoreError
from mlflow_dsver.model.evidence import Checksum
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest
from mlflow_dsver.text import one_line

PART = 16 << 20
"""Bytes that are read by one call at most."""
AT_ONCE = 32
BATCH = 16
"""Small files that a thread fetches in one go."""
WAIT = 3600.0
"""Seconds to wait for another process that fetches the same files to the same place."""


ReadFile = Callable[[FileEntry, int, int], Any]
"""The bytes of a file from one offset to another, of exactly the recorded state; called from several threads.

Raises NotFound, naming the file, for one that is gone, and CorruptObject for one that is another (see `another`).
"""


class Part(NamedTuple):
    """A piece of work of one thread: small files whole, or one part of a large file from `start` on."""

    files: tuple[FileEntry, ...]
    start: int | None = None


def fetch_folder(manifest: Manifest, read: ReadFile, folder: Path, progress: Progress, reference: object) -> None:
    """Fetch all files of a version into a new or empty folder, whole or not at all. reference: for errors.

    Raises InvalidArgument for a folder with files, CorruptObject for a file whose bytes are others, and what `read`
    raises.
    """
    check_new_folder(folder)
    _check_names(manifest, reference)
    with _partial(folder, manifest.digest) as beside:
        present = {entry.path for entry in manifest.entries if _is_there(beside, entry)}
        missing = [entry for entry in manifest.entries if entry.path not in present]
        progress.total(len(manifest), manifest.total_bytes)
        progress.advance(len(present), sum(entry.bytes for entry in manifest.entries if entry.path in present))
        _fetch(_Fetch(read, beside, progress, reference), missing)
        if folder.is_dir():
            folder.rmdir()
        beside.rename(folder)


class _Fetch(NamedTuple):
    """What all pieces of work of one call share. folder: the one that files arrive in."""

    read: ReadFile
    folder: Path
    progress: Progress
    reference: object


def _fetch(fetch: _Fetch, entries: Sequence[FileEntry]) -> None:
    folder = fetch.folder
    for parent in sorted({entry.path.rpartition("/")[0] for entry in entries} - {""}):
        safe_join(folder, parent).mkdir(parents=True, exist_ok=True)
    large = [entry for entry in entries if entry.bytes > PART]
    for entry in large:
        for path, size in ((_beside(folder, entry), entry.bytes), (_done(folder, entry), -(-entry.bytes // PART))):
            if not path.is_file() or path.stat().st_size != size:
                with _writing(entry), path.open("wb") as stream:
                    stream.truncate(size)
    work = partial(_work, fetch)
    with ThreadPoolExecutor(AT_ONCE, "mlflow-dsver-fetch") as pool:
        try:
            parts = _parts(entries, folder)
            while batch := list(islice(parts, 4 * AT_ONCE)):
                for _ in pool.map(work, batch):
                    pass
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        for _ in pool.map(partial(_finish, fetch), large):
            fetch.progress.advance(1, 0)


def _parts(entries: Sequence[FileEntry], folder: Path) -> Iterator[Part]:
    """All pieces of work; of large files those parts that a former call has not fetched."""
    small = (entry for entry in entries if entry.bytes <= PART)
    for entry in entries:
        if entry.bytes > PART:
            done = _done(folder, entry).read_bytes()
            yield from (Part((entry,), number * PART) for number, mark in enumerate(done) if not mark)
    while batch := tuple(islice(small, BATCH)):
        yield Part(batch)


def _work(fetch: _Fetch, part: Part) -> None:
    folder, progress = fetch.folder, fetch.progress
    for entry in part.files:
        if part.start is None:
            content = read_part(fetch.read, entry, 0, entry.bytes, fetch.reference)
            _check(entry, [content], fetch.reference)
            _write(safe_join(folder, entry.path), content)
            progress.advance(1, entry.bytes)
        else:
            stop = min(part.start + PART, entry.bytes)
            content = read_part(fetch.read, entry, part.start, stop, fetch.reference)
            with _writing(entry), _beside(folder, entry).open("r+b") as stream:
                stream.seek(part.start)
                stream.write(content)
            with _writing(entry), _done(folder, entry).open("r+b") as stream:
                stream.seek(part.start // PART)
                stream.write(b"\1")
            progress.advance(0, stop - part.start)


def _finish(fetch: _Fetch, entry: FileEntry) -> None:
    """Compare the checksums of a large file that has arrived in parts, and give it its name."""
    folder = fetch.folder
    path = _beside(folder, entry)
    if Checksums.of(entry).known:
        with path.open("rb") as stream:
            blocks = iter(partial(stream.read, 1 << 20), b"")
            _check(entry, blocks, fetch.reference)
    _done(folder, entry).unlink()
    path.rename(safe_join(folder, entry.path))


def read_part(read: ReadFile, entry: FileEntry, start: int, stop: int, reference: object) -> Any:
    """The bytes of a file from start to stop. Raises CorruptObject when there are fewer, or more."""
    content = read(entry, start, stop)
    if len(content) != stop - start:
        raise another(entry, reference, f"{stop - start:,} bytes", f"{len(content):,} bytes")
    return content


def read_checksums(
    read: ReadFile, entry: FileEntry, algorithms: Sequence[str], reference: object
) -> tuple[Checksum, ...]:
    """Read a file to its end and return its checksums of these algorithms; keeps nothing."""
    found = Checksums(algorithms, entry.bytes)
    for start in range(0, entry.bytes, PART):
        found.update(read_part(read, entry, start, min(start + PART, entry.bytes), reference))
    return found.values()


def another(entry: FileEntry, reference: object, expected: str, got: str) -> CorruptObject:
    """The error for a file whose bytes are not those that were recorded."""
    return CorruptObject(
        f"the file {one_line(entry.path, 200)} is not what was recorded",
        reference=reference,
        expected=expected,
        got=got,
        done="Nothing was served",
    )


def _check(entry: FileEntry, blocks: Any, reference: object) -> None:
    found = Checksums.of(entry)
    if found.known:
        for block in blocks:
            found.update(block)
        wrong = compared(entry, found.values())
        if wrong.same is False:
            raise another(entry, reference, f"the recorded {wrong.by}", f"another {wrong.by}")


def _write(path: Path, content: Any) -> None:
    """Write a small file. A kill leaves it shorter than it should be, which the next call sees."""
    try:
        with path.open("wb") as stream:
            stream.write(content)
    except OSError as error:
        raise _disk(path, error) from error


@contextmanager
def _writing(entry: FileEntry) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _disk(entry.path, error) from error


def _disk(path: object, error: OSError) -> StoreError:
    return StoreError(
        f"{one_line(path, 300)} cannot be written: {error.strerror}",
        done="What was fetched is kept beside the target",
        tip="the same command again goes on from there",
    )


@contextmanager
def _partial(folder: Path, digest: str) -> Iterator[Path]:
    """The folder beside the target that files arrive in, locked; the same one for each try since the machine started.

    After a restart of the machine files may have lost bytes that were not on the disk yet, so it begins anew then.
    """
    beside = folder.with_name(f".{folder.name[:60]}.{digest[-12:]}-{_boot()}.part")
    beside.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(beside, os.O_RDONLY)
    try:
        if not wait_for_lock(descriptor, WAIT):
            raise StoreError(f"another process fetches to {one_line(folder, 300)}")
        if not beside.is_dir():  # the other process has finished and renamed it
            raise StoreError(f"another process has just fetched to {one_line(folder, 300)}", tip="that folder")
        yield beside
    finally:
        os.close(descriptor)
    with suppress(OSError):
        sync_folder(folder.parent)


def _boot() -> str:
    """Eight characters that are others after each start of the machine, and for each process where it has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:
        return f"p{os.getpid()}"


def _beside(folder: Path, entry: FileEntry) -> Path:
    """Where the parts of a large file are put together."""
    return safe_join(folder, entry.path).with_name(f".{_short(entry)}.parts")


def _done(folder: Path, entry: FileEntry) -> Path:
    """A byte for each part of a large file: 1 when it has arrived."""
    return safe_join(folder, entry.path).with_name(f".{_short(entry)}.done")


def _short(entry: FileEntry) -> str:
    """A name that no other file of the version has, however long and alike their names are."""
    return hashlib.sha256(entry.path.encode()).hexdigest()[:32]


def _is_there(folder: Path, entry: FileEntry) -> bool:
    try:
        return safe_join(folder, entry.path).lstat().st_size == entry.bytes
    except (OSError, InvalidManifest):
        return False


def _check_names(manifest: Manifest, reference: object) -> None:
    """Refuse names that a file system cannot have side by side or at all."""
    for entry in manifest.entries:
        if any(len(part.encode()) > 255 for part in entry.path.split("/")) or len(entry.path.encode()) > 4000:
            raise InvalidArgument(
                f"{one_line(entry.path, 100)} is too long for a file's name",
                reference=reference,
                tip="a version without it, or open() for the other files",
            )
