"""The log of a dataset: an append-only file of operations, and the state that results from replaying it.

Each line is one complete operation (create versions with their tags, change, delete), so operations are atomic. A
line reads `<length> <check> <sum> <JSON>`: the sum covers the JSON and the sum of the previous line, the check covers
length and sum, all in hex. This distinguishes a line truncated during the write (process killed, power cut, full
disk) from one damaged later: readers skip the first and the next writer truncates it; the second raises CorruptObject
and is never guessed at. The log is also the history of the tags.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mlflow_dsver.content.atomic_files import atomic_write, flush, make_folder, sync_folder
from mlflow_dsver.content.patterns import EVERYTHING, Rules
from mlflow_dsver.errors import CorruptObject, InvalidArgument
from mlflow_dsver.model.manifests import InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.providers.dataset_history import Operation, Record, State, apply
from mlflow_dsver.providers.local.store import Store, locked, meanings
from mlflow_dsver.providers.operation_schema import read_operation

MAX_LINE = 256 * 1024
"""Maximum bytes of one operation."""

MAX_LOG = 1 << 30
"""Maximum bytes of a log: some million operations."""

UNKNOWN = "it says what this version does not understand"

_HEADER = re.compile(rb"([0-9a-f]{8}) ([0-9a-f]{8}) ([0-9a-f]{32}) \Z")
_HEADER_BYTES = 51


def read_state(store: Store, dataset: str) -> State | None:
    """The state of a dataset; None when there is no such dataset. Raises CorruptObject for a damaged log."""
    path = store.log(dataset)
    try:
        with meanings(f"the log of dataset {dataset!r} cannot be read"):
            try:
                return parse(read_log(path), dataset) if store.exists() else None
            except CorruptObject:  # the read may have raced a writer that replaced a torn line
                with locked(path, exclusive=False):
                    return parse(read_log(path), dataset)
    except OSError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def append(store: Store, dataset: str, decide: Callable[[State], Operation | None]) -> State:
    """Append the operation that `decide` returns for the current state, durably; return the new state.

    None appends nothing. The dataset's log is locked exclusively meanwhile.
    Raises StoreError, and whatever `decide` raises.
    """
    path = store.log(dataset)
    with meanings(f"the log of dataset {dataset!r} cannot be written"):
        make_folder(path.parent)
        with locked(path, exclusive=True, create=True) as descriptor:
            state = parse(_read_all(descriptor), dataset) or State(dataset)
            operation = decide(state)
            if operation is None:
                return state
            line, total = line_of({"dataset": dataset, **operation}, state.sum)
            if len(line) > MAX_LINE:
                raise InvalidArgument("message, metadata and tags are too long", expected=f"at most {MAX_LINE} bytes")
            _write(descriptor, line, state)
            if state.size == 0:
                sync_folder(path.parent)
                sync_folder(path.parent.parent)
    apply(state, operation)
    state.size, state.torn, state.sum, state.lines = state.size + len(line), 0, total, state.lines + 1
    return state


def line_of(operation: Operation, before: str) -> tuple[bytes, str]:
    """The line of an operation that follows a line with the sum `before` (empty for the first), and its own sum."""
    body = json.dumps(operation, separators=(",", ":"), allow_nan=False).encode()
    total = _hash(before.encode() + body)[:32]
    length = f"{len(body):08x}"
    return f"{length} {_check(before, length, total)} {total} ".encode() + body + b"\n", total


def parse(text: bytes, dataset: str | None) -> State | None:
    """Replay a log; None for an empty one. dataset: the expected dataset; None takes the name from the first line.

    Raises CorruptObject, naming dataset and line.
    """
    state = State(dataset or "")
    whole = _without_zeros(text)
    while state.size < len(whole):
        body, total, length = _line_at(whole, state)
        if body is None:
            break
        try:
            operation = read_operation(body)
            if dataset is None and state.lines == 0:
                state.dataset = operation["dataset"]
            if operation["dataset"] != state.dataset:
                raise _damaged(state, f"it is that of {operation['dataset']!r}")
            apply(state, operation)
        except KeyError as error:
            raise _damaged(state, "it is about a version that does not exist") from error
        except ValueError as error:
            raise _damaged(state, f"{UNKNOWN}: {error}") from error
        state.size, state.sum, state.lines = state.size + length, total, state.lines + 1
    state.torn = len(text) - state.size
    return state if state.lines else None


def _without_zeros(text: bytes) -> bytes:
    """The log without trailing zeros: file systems may leave them in place of the bytes of an interrupted write."""
    stripped = text.rstrip(b"\0")
    return stripped if len(stripped) < len(text) - 8 else text


def _line_at(text: bytes, state: State) -> tuple[bytes | None, str, int]:
    """Body, sum and length of the line at `state.size`; the body is None for a truncated line."""
    start = state.size
    if len(text) - start < _HEADER_BYTES:
        return None, "", 0
    header = _HEADER.match(text[start : start + _HEADER_BYTES])
    if not header or _check(state.sum, header[1].decode(), header[3].decode()) != header[2].decode():
        raise _damaged(state, "its header is not what was written")
    if int(header[1], 16) > MAX_LINE:
        raise _damaged(state, "it is longer than a line may be")
    end = start + _HEADER_BYTES + int(header[1], 16)
    if len(text) <= end:
        return None, "", 0
    body, total = text[start + _HEADER_BYTES : end], header[3].decode()
    if _hash(state.sum.encode() + body)[:32] != total or text[end : end + 1] != b"\n":
        raise _damaged(state, "its checksum does not match")
    return body, total, end + 1 - start


def _write(descriptor: int, line: bytes, state: State) -> None:
    """Append a line after the complete ones; when the write fails, it is undone."""
    if state.torn:
        os.ftruncate(descriptor, state.size)
    try:
        written = 0
        while written < len(line):  # after a short write, the next write raises the reason
            written += os.write(descriptor, line[written:])
        flush(descriptor)
    except BaseException:
        with suppress(OSError):
            os.ftruncate(descriptor, state.size)
        raise


def read_log(path: Path) -> bytes:
    """All bytes of a log. Raises CorruptObject for no regular file or more than MAX_LOG bytes; OSError propagates."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _read_all(descriptor)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_LOG:
        raise CorruptObject(
            "the log of a dataset is no file, or too large",
            expected=f"a file of at most {MAX_LOG:,} bytes",
            got=f"{stat.filemode(status.st_mode)}, {status.st_size:,} bytes",
            done="Nothing was served or changed",
            tip="the file from a backup",
        )
    os.lseek(descriptor, 0, os.SEEK_SET)
    parts = []
    left = MAX_LOG
    while left > 0 and (part := os.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _damaged(state: State, why: str) -> CorruptObject:
    return CorruptObject(
        f"the log of dataset {state.dataset!r} is damaged in line {state.lines + 1}: {why}",
        done="Nothing was served or changed",
        tip="`mlflow-dsver store check`, then the file from a backup",
    )


def _check(before: str, length: str, total: str) -> str:
    return _hash(f"{before}{length}{total}".encode())[:8]


def _hash(content: bytes) -> str:
    from blake3 import blake3

    digest: str = blake3(content).hexdigest()
    return digest


# Manifests in the store: written once per content digest, checked when they are read


def keep_manifest(store: Store, manifest: Manifest, known: str | None) -> str:
    """Write the manifest, unless an intact one exists; return the sum of its file. known: the expected sum."""
    path = store.manifest(manifest.digest)
    with meanings("the manifest cannot be kept"):
        try:
            if known is not None and path.is_file() and file_sum(path) == known:
                return known
            manifest_of(store, manifest.digest, "")
            sync_folder(path.parent)  # another process may have created it just now, without syncing the folder yet
            return file_sum(path)
        except CorruptObject:
            with atomic_write(path, mode=0o444) as stream:
                manifest.write(stream)
            return file_sum(path)


def file_sum(path: Path) -> str:
    """A short BLAKE3 of a file's bytes."""
    from blake3 import blake3

    digest: str = blake3(path.read_bytes()).hexdigest()
    return digest[:32]


def manifest_of(store: Store, digest: str, version: str) -> Manifest:
    """The manifest of a content digest. Raises CorruptObject, naming version and file."""
    path = store.manifest(digest)
    got = None
    try:
        with path.open("rb") as stream:
            manifest = read_manifest(stream)
        if manifest.digest == digest:
            return manifest
        got = manifest.digest
    except OSError as error:
        got = error.strerror
    except InvalidManifest as error:
        got = str(error)
    raise CorruptObject(
        f"its manifest is damaged or missing ({path})",
        reference=version,
        expected=digest,
        got=got,
        done="Nothing was served",
        tip="the file from a backup, or delete the version and create it again from its folder",
    )


def rules_of(manifest: Manifest) -> Rules:
    """The patterns that a manifest was created with; all files where the manifest names none."""
    return Rules.from_made(manifest.made) or EVERYTHING


def recorded_rules(store: Store, record: Record) -> Rules | None:
    """The patterns that a version's folder was walked with, from a source that a checksum covers; None when unknown.

    Older records have them in the manifest's header only; the log holds the sum of that file.
    """
    if record.rules is not None:
        return Rules.from_made(record.rules)
    try:
        if file_sum(store.manifest(record.digest)) != record.manifest:
            return None
        return rules_of(manifest_of(store, record.digest, ""))
    except OSError:
        return None
