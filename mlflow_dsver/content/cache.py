"""Remembers the digest of files that were hashed, so that an unchanged folder costs its stat calls and little more.

An entry is believed when device, inode, size, mtime and ctime of the file are those that it was hashed with. An
edit in place whose mtime was set back changes ctime, which nobody can set. Files whose mtime or ctime was younger
than `YOUNG` when their hashing began are not remembered: they could change again within the clock's grain.

The cache may be missing, damaged, locked, read-only or on a full disk: then it is not used, which costs time and
never an error or a wait beyond `BUSY` seconds. It is for speed alone; a check that must be sure hashes without it.
SQLite in rollback mode, not WAL, so that reading writes nothing, not even beside the file. Several processes may
share it: readers hold its lock for one batch of rows, writers for one batch of inserts.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import struct
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from mlflow_dsver import settings

YOUNG = 3_000_000_000
"""Nanoseconds: the grain of the coarsest clock of a file system in use (FAT's is 2 s), and some."""

BUSY = 1.0
"""Seconds that a batch waits for another process at most; after one wait in vain the cache is left alone."""

UNUSED_DAYS = 90
"""A folder that was not hashed for so long is forgotten."""

_SCHEMA = 1
_BATCH = 10_000
_DAY = 86_400
_CREATE = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS folders (id INTEGER PRIMARY KEY, path BLOB UNIQUE NOT NULL, used INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    folder INTEGER NOT NULL, path TEXT NOT NULL, stamp BLOB NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (folder, path)
) WITHOUT ROWID;
PRAGMA user_version = {_SCHEMA};
COMMIT;
"""
_pack = struct.Struct("<QQQqq").pack
_log = logging.getLogger(__name__)


class Row(NamedTuple):
    """What is remembered of a file: path below its folder, stamp of its stat, and its digest as 32 bytes."""

    path: str
    stamp: bytes
    digest: bytes


def stamp(status: os.stat_result) -> bytes:
    """Device, inode, size, mtime and ctime, packed: equal stamps mean an untouched file."""
    return _pack(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def is_young(status: os.stat_result, now: int) -> bool:
    """Whether the file changed so shortly before `now` (nanoseconds) that a further change might not show."""
    return now - max(status.st_mtime_ns, status.st_ctime_ns) < YOUNG


class StatCache:
    """Digests of files by folder and path, in one file. No method raises because of the cache's state.

    read_only: nothing is ever written, the file not even created. An instance may be handed to other threads but
    is used by one at a time; it holds no connection open, so it survives a fork.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._usable = True

    def rows(self, folder: bytes) -> Iterator[Row]:
        """What is remembered of a folder (by its real path), sorted by path; fetched in batches as needed."""
        last = ""
        while self._usable and self.path.exists():
            batch = self._batch(folder, last)
            yield from batch
            if len(batch) < _BATCH:
                return
            last = batch[-1].path

    def remember(self, folder: bytes, rows: Iterable[Row]) -> None:
        """Keep these rows, in place of what was known under the same paths."""
        if self.read_only or not self._usable:
            return
        try:
            with closing(self._writable()) as connection, connection:
                number = _folder_number(connection, folder)
                connection.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", ((number, *row) for row in rows)
                )
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def forget(self, folder: bytes, paths: Iterable[str]) -> None:
        """Drop rows of files that are gone."""
        if self.read_only or not self._usable:
            return
        try:
            with closing(self._writable()) as connection, connection:
                number = _folder_number(connection, folder)
                connection.executemany(
                    "DELETE FROM files WHERE folder = ? AND path = ?", ((number, path) for path in paths)
                )
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _batch(self, folder: bytes, last: str) -> list[Row]:
        try:
            with closing(self._connect("ro" if self.read_only else "rw")) as connection:
                if connection.execute("PRAGMA user_version").fetchone() != (_SCHEMA,):
                    raise sqlite3.DatabaseError("of another schema")
                found = connection.execute("SELECT id FROM folders WHERE path = ?", (folder,)).fetchone()
                if found is None:
                    return []
                rows = connection.execute(
                    "SELECT path, stamp, digest FROM files WHERE folder = ? AND path > ? ORDER BY path LIMIT ?",
                    (found[0], last, _BATCH),
                ).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
            return []
        return [Row._make(row) for row in rows]

    def _writable(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect("rwc")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                connection.executescript(_CREATE)
            elif version != _SCHEMA:
                raise sqlite3.DatabaseError("of another schema")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"{self.path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=BUSY)
        connection.execute("PRAGMA cache_size = -32768")  # KiB: a batch is not written before it is complete
        return connection

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        _log.info("the cache of digests %s is not used: %s", self.path, error)


def default_cache(*, read_only: bool = False) -> StatCache:
    """The user's cache, which all folders and processes share."""
    return StatCache(settings.home() / "cache" / "stat.sqlite", read_only=read_only)


def _folder_number(connection: sqlite3.Connection, folder: bytes) -> int:
    """The folder's number, made when it is new; also forgets folders that were not used for long."""
    today = int(time.time()) // _DAY
    found = connection.execute("SELECT id, used FROM folders WHERE path = ?", (folder,)).fetchone()
    if found is not None and found[1] == today:
        return int(found[0])
    if found is not None:
        connection.execute("UPDATE folders SET used = ? WHERE id = ?", (today, found[0]))
        number = int(found[0])
    else:
        cursor = connection.execute("INSERT INTO folders (path, used) VALUES (?, ?)", (folder, today))
        number = int(cursor.lastrowid or 0)
    old = connection.execute("SELECT id FROM folders WHERE used < ?", (today - UNUSED_DAYS,)).fetchall()
    for (each,) in old:
        connection.execute("DELETE FROM files WHERE folder = ?", (each,))
        connection.execute("DELETE FROM folders WHERE id = ?", (each,))
    return number
