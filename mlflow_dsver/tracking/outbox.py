"""The outbox: records that are to be written to runs, kept on this host until they are there.

An entry is one JSON file in the folder `journal` of the home directory. It is on disk before the first request is
made and removed when the record is complete, so a kill, a power cut or a dead server loses no link; `sync` sends what
is left. A process holds its entries by the kernel's lock on the file (locked before the file gets its name, so there
is no moment without), and the kernel releases it when the process dies. Where a file system has no locks, an entry
counts as free: writing a record twice is safe. An entry holds no secret: the tracking address is stored without user,
password and query, and the file is readable by its owner only.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import atomic_write, make_folder, sync_folder
from mlflow_dsver.content.file_locks import try_lock, unlock
from mlflow_dsver.model import json_values
from mlflow_dsver.model.versions import Link
from mlflow_dsver.secrets import redacted
from mlflow_dsver.settings import LoggedParams
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.clients import address

SCHEMA = 1
MAX_BYTES = 256 << 20
"""Larger files are rejected: the links of a run, with their providers' responses, are far smaller."""
MAX_ID, MAX_TEXT, MAX_LINKS = 256, 8000, 1000
"""Characters of an id and of any other text of an entry at most, and links; entries that we write stay far below."""
LEFTOVER_AGE = 3600.0
"""Seconds after which a file that a killed process was just writing is deleted; `put` takes a fraction of one."""

_Id = Annotated[str, MAX_ID]
_Text = Annotated[str, MAX_TEXT]
_SUFFIX = ".json"
_ERROR_LIMIT = 1000
_logger = logging.getLogger(__name__)
_held: set[int] = set()
_warned = False


@dataclass(frozen=True, slots=True)
class PendingRecord:
    """Links that are to be written to a run.

    tracking: address of the store that has the run, without user, password and query; `put` removes them.
    offline: roles resolved to the last version known on this host, since the provider did not answer.
    overridden: role to what the script asked for, where another version was put in its place.
    created: with time zone. error: why it was not recorded; None while nothing went wrong.
    params: how much of a link is logged as params; entries of older versions have `full`.
    workspace: that has the run; None for the server's default one, and on servers without workspaces.
    """

    run_id: _Id
    experiment_id: _Id
    tracking: _Text
    links: Annotated[tuple[Link, ...], MAX_LINKS]
    offline: tuple[_Text, ...] = ()
    overridden: Mapping[_Text, _Text] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    error: _Text | None = None
    params: LoggedParams = "full"
    workspace: _Id | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return {"schema": SCHEMA, **json_values.to_json(self)}

    @classmethod
    def from_json(cls, data: object) -> PendingRecord:
        """Read what `to_json` wrote; raises ValueError for anything else."""
        json_values.check_schema(data, "an entry", SCHEMA)
        return json_values.from_json(cls, data)


class OutboxEntry:
    """An entry that this process holds, until it is released or garbage-collected; inert in a forked child."""

    def __init__(self, path: Path, entry: PendingRecord, descriptor: int) -> None:
        self.path = path
        self._entry = entry
        self._descriptor = descriptor
        self._process = os.getpid()
        self._spent = False

    def done(self) -> None:
        """Remove the entry: the record is complete. Also after `fail` or `release`, unless another process has it."""
        if self._process != os.getpid():
            return
        try:
            descriptor = _take(self.path) if self._spent else self._descriptor
            if descriptor is None:
                return
            self.path.unlink(missing_ok=True)
            _unlock(descriptor)
        except OSError as error:  # it stays, and `sync` will find it done
            _logger.debug("outbox: %s stays: %s", self.path, error)
        self._spent = True

    def fail(self, text: str) -> None:
        """Keep the entry with the reason in it, and leave it to `sync`."""
        if self._mine():
            reason = one_line(redacted(text), _ERROR_LIMIT)
            try:
                _unlock(_write(self.path, replace(self._entry, error=reason)))
            except OSError as error:  # then without the reason
                _logger.debug("outbox: %s: %s", self.path, error)
            self.release()

    def release(self) -> None:
        """Keep the entry as it is, and leave it to `sync`."""
        if self._mine():
            self._spent = True
            _unlock(self._descriptor)

    def __del__(self) -> None:
        self.release()

    def _mine(self) -> bool:
        return not self._spent and self._process == os.getpid()


def put(entry: PendingRecord) -> OutboxEntry | None:
    """Keep an entry; it is on the disk when this returns. Costs two flushes: of the file and of its folder's names.

    None when the home cannot be written to, which is logged once a process: recording goes on without the journal.
    """
    try:
        entry = replace(entry, tracking=address(entry.tracking))
        folder = _made_folder()
        stamp = entry.created.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        path = folder / f"{stamp}-{secrets.token_hex(4)}{_SUFFIX}"
        return OutboxEntry(path, entry, _write(path, entry))
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # no home, a full disk, settings that are broken
        _warn_once(error)
        return None


def waiting(
    unreadable: Callable[[Path, str], None] | None = None,
) -> Generator[tuple[Path, PendingRecord, OutboxEntry], None, None]:
    """The entries that no living process holds, oldest first, each held by the caller until the next iteration.

    unreadable: called with each file that this version cannot read, and why; None logs it. Such a file is kept.
    Raises OSError when the folder is there and cannot be listed.
    """
    report_unreadable = unreadable or (
        lambda path, why: _logger.warning("outbox: %s is kept and not read: %s", path, why)
    )
    for path in _entries():
        try:
            descriptor = _take(path)
        except OSError as error:
            report_unreadable(path, error.strerror or type(error).__name__)
            continue
        if descriptor is None:
            continue
        try:
            entry = _read(descriptor)
        except (OSError, ValueError, RecursionError) as error:
            _unlock(descriptor)
            report_unreadable(path, one_line(error))
            continue
        except BaseException:
            _unlock(descriptor)
            raise
        held = OutboxEntry(path, entry, descriptor)
        try:
            yield path, entry, held
        finally:
            held.release()


def of_run(run_id: str) -> dict[str, Link]:
    """Role to link of a run's outbox entries on this host, held by any process or none; {} if there are none.

    Call this before reading the run, so that no link is missed: an entry leaves the outbox after it is on the run.
    """
    found: dict[str, Link] = {}
    for path in _entries():
        try:
            content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
            entry = PendingRecord.from_json(json.loads(content)) if run_id.encode() in content else None
        except (OSError, ValueError, RecursionError):  # removed meanwhile, or not ours; `waiting` reports those
            continue
        if entry is not None and entry.run_id == run_id:
            found |= {link.role: link for link in entry.links}
    return found


def entry_id(path: Path) -> str:
    """The id of an entry: the last part of its file's name, such as `3f9c2a7d`; else the whole."""
    return path.stem.rpartition("-")[2]


def drop(path: Path) -> bool:
    """Remove an entry, readable or not; False when a living process holds it. Raises OSError."""
    if not stat.S_ISREG(path.lstat().st_mode):
        path.unlink()
        return True
    descriptor = _take(path)
    if descriptor is None:
        return not path.exists()
    try:
        path.unlink(missing_ok=True)
    finally:
        _unlock(descriptor)
    return True


def tidy() -> None:
    """Delete what processes left that were killed while they wrote; they had made no request yet."""
    folder = _folder()
    for leftover in folder.glob(f".*{_SUFFIX}.*.tmp"):
        try:
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
                leftover.unlink()
        except OSError as error:
            _logger.debug("outbox: %s stays: %s", leftover, error)


def _folder() -> Path:
    return settings.home() / "journal"


def _made_folder() -> Path:
    folder = _folder()
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
    return folder


def _entries() -> list[Path]:
    try:
        with os.scandir(_folder()) as found:
            names = [each.name for each in found if each.name.endswith(_SUFFIX) and not each.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [_folder() / name for name in sorted(names)]


def _write(path: Path, entry: PendingRecord) -> int:
    """Write an entry's file; gives a descriptor that holds its lock, which was there before the file's name."""
    content = json.dumps(entry.to_json(), default=str).encode("ascii")
    descriptor = None
    try:
        with atomic_write(path, mode=0o600) as stream:
            descriptor = os.dup(stream.fileno())
            _held.add(descriptor)
            _lock(descriptor)
            stream.write(content)
    except BaseException:
        if descriptor is not None:
            _unlock(descriptor)
        raise
    assert descriptor is not None
    return descriptor


def _take(path: Path) -> int | None:
    """A descriptor that holds the lock of an entry's file; None when another process holds or removed it."""
    for _ in range(3):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        _held.add(descriptor)
        try:
            if not _lock(descriptor):
                _unlock(descriptor)
                return None
            there, mine = path.stat(), os.fstat(descriptor)
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                return descriptor
            _unlock(descriptor)  # written anew since it was opened
        except FileNotFoundError:  # taken out since it was opened
            _unlock(descriptor)
            return None
        except BaseException:
            _unlock(descriptor)
            raise
    return None


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours now; also True where there are no locks."""
    try:
        return try_lock(descriptor)
    except OSError as error:  # ENOLCK, EOPNOTSUPP: a network file system
        _logger.debug("outbox: no lock: %s", error)
        return True


def _unlock(descriptor: int) -> None:
    """Release the lock and close the descriptor."""
    _held.discard(descriptor)
    try:
        unlock(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> PendingRecord:
    status = os.fstat(descriptor)
    size = status.st_size
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a plain file")
    if size > MAX_BYTES:
        raise ValueError(f"{size:,} bytes; no entry is larger than {MAX_BYTES:,}")
    with os.fdopen(os.dup(descriptor), "rb") as stream:
        return PendingRecord.from_json(json.loads(stream.read(MAX_BYTES)))


def _warn_once(error: Exception) -> None:
    global _warned
    if not _warned:
        _logger.warning(
            "the journal cannot be written, so a kill may lose links that are being recorded: %s", one_line(error)
        )
    _warned = True


def _drop_in_child() -> None:
    """A forked child has the parent's descriptors and, with them, its locks: closed here, they stay the parent's."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)
