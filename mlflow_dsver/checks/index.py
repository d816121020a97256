"""A local index of manifests: which contents hold a file, found in milliseconds over thousands of manifests.

One row a manifest, not a row a file: its digests and its paths are two sorted arrays of (64-bit key, line number).
Both keys are hashes, so they are spread evenly, and where one would stand in an array is known before looking: a
search reads one short piece of each array. The lines themselves are kept in compressed blocks, so that a hit is
confirmed by its whole digest or path and nothing else is opened. About 70 bytes a file.

It is a cache: `mlflow_dsver.checks.contains` fills it, and it may be deleted at any time. One that is damaged or of
another version is made anew; where it cannot be written it lives in memory for as long as the process.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import IO

from mlflow_dsver import settings
from mlflow_dsver.checks.manifest_lines import ManifestLines, parse_line
from mlflow_dsver.manifests import FileEntry

SCHEMA = 1
BLOCK = 256
"""Lines in a block."""

_KEY = 8
_ITEM = _KEY + 4
_BUSY = 30.0
_CREATE = f"""
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY, digest TEXT UNIQUE NOT NULL, files INTEGER NOT NULL,
    contents BLOB NOT NULL, paths BLOB NOT NULL
);
CREATE TABLE blocks (
    manifest INTEGER NOT NULL, number INTEGER NOT NULL, lines BLOB NOT NULL, PRIMARY KEY (manifest, number)
) WITHOUT ROWID;
CREATE TABLE uses (
    server TEXT NOT NULL, run TEXT NOT NULL, role TEXT NOT NULL, name TEXT NOT NULL, experiment TEXT NOT NULL,
    started REAL, version TEXT NOT NULL, digest TEXT, PRIMARY KEY (server, run, role)
) WITHOUT ROWID;
CREATE INDEX uses_by_digest ON uses (digest);
CREATE TABLE stored (version TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE models (
    server TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, run TEXT NOT NULL,
    PRIMARY KEY (server, name, version)
) WITHOUT ROWID;
CREATE INDEX models_by_run ON models (server, run);
CREATE TABLE refreshed (server TEXT PRIMARY KEY, everything REAL NOT NULL, lately REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA};
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexedUse:
    """A run that used a content in a role. started: seconds since 1970; None when MLflow does not say."""

    run_id: str
    role: str
    name: str
    experiment: str
    started: float | None
    version: str


class Index:
    """The index in a file; use it in a `with` block. connection: for those who fill it, in transactions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = _opened(path)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def has(self, content_digest: str) -> bool:
        """Whether a manifest is in the index."""
        found = self.connection.execute("SELECT 1 FROM manifests WHERE digest = ?", (content_digest,)).fetchone()
        return found is not None

    def add(self, stream: IO[bytes]) -> str:
        """Take a compressed manifest in and give its content digest; raises InvalidManifest and takes nothing."""
        lines = ManifestLines(stream)
        blocks, count = [], 0
        items: list[bytes] = []
        names: list[bytes] = []
        rows = iter(lines)
        while batch := list(islice(rows, BLOCK)):
            for line in batch:
                entry = parse_line(line)
                number = count.to_bytes(4, "big")
                items.append(_content_key(entry.digest) + number)
                names.append(_path_key(entry.path) + number)
                count += 1
            blocks.append(zlib.compress(b"\n".join(batch), 1))
        contents, paths = b"".join(sorted(items)), b"".join(sorted(names))
        with self.connection:
            cursor = self.connection.execute(
                "INSERT OR IGNORE INTO manifests (digest, files, contents, paths) VALUES (?, ?, ?, ?)",
                (lines.content_digest, count, contents, paths),
            )
            if cursor.rowcount:
                rowid = cursor.lastrowid
                self.connection.executemany(
                    "INSERT INTO blocks VALUES (?, ?, ?)",
                    ((rowid, number, block) for number, block in enumerate(blocks)),
                )
        return lines.content_digest

    def by_content(self, digest: str) -> Iterator[tuple[str, FileEntry]]:
        """(content digest, file) of every manifest with a file of that BLAKE3 (64 hex digits)."""
        return self._found("contents", _content_key(digest), lambda entry: entry.digest == digest)

    def by_path(self, path: str) -> Iterator[tuple[str, FileEntry]]:
        """(content digest, file) of every manifest with a file under exactly that path."""
        return self._found("paths", _path_key(path), lambda entry: entry.path == path)

    def uses(self, content_digest: str) -> list[IndexedUse]:
        """The runs that used a content, the latest first."""
        rows = self.connection.execute(
            "SELECT run, role, name, experiment, started, version FROM uses WHERE digest = ? "
            "ORDER BY started DESC, run, role",
            (content_digest,),
        )
        return [IndexedUse(*row) for row in rows]

    def versions(self, content_digest: str) -> list[str]:
        """The versions that have a content: those in the local store, and those that runs used."""
        rows = self.connection.execute(
            "SELECT version FROM stored WHERE digest = ? UNION SELECT version FROM uses WHERE digest = ? ORDER BY 1",
            (content_digest, content_digest),
        )
        return [row[0] for row in rows]

    def models(self, run_id: str) -> list[str]:
        """The versions of registered models that came from a run."""
        rows = self.connection.execute("SELECT name, version FROM models WHERE run = ? ORDER BY 1, 2", (run_id,))
        return [f"{name} version {version}" for name, version in rows]

    def unlisted(self) -> list[str]:
        """Versions that runs used and whose files nobody listed, so that a search cannot see them."""
        rows = self.connection.execute(
            "SELECT DISTINCT version FROM uses WHERE digest IS NULL OR digest NOT IN (SELECT digest FROM manifests) "
            "ORDER BY 1"
        )
        return [row[0] for row in rows]

    def size(self) -> tuple[int, int]:
        """How many manifests are in it, and how many files they list."""
        row = self.connection.execute("SELECT count(*), coalesce(sum(files), 0) FROM manifests").fetchone()
        return int(row[0]), int(row[1])

    def _found(self, column: str, key: bytes, is_it: Callable[[FileEntry], bool]) -> Iterator[tuple[str, FileEntry]]:
        for rowid, digest, files in self.connection.execute("SELECT id, digest, files FROM manifests").fetchall():
            for number in self._numbers(column, rowid, files, key):
                entry = self._entry(rowid, number)
                if is_it(entry):
                    yield digest, entry

    def _numbers(self, column: str, rowid: int, files: int, key: bytes) -> list[int]:
        """The line numbers that a key has in an array: read around the place where it would stand, or all of it."""
        if not files:
            return []
        with self.connection.blobopen("manifests", column, rowid, readonly=True) as blob:
            place = int.from_bytes(key, "big") * files >> 64
            spread = 4 * isqrt(files) + 16
            first, last = max(0, place - spread), min(files, place + spread)
            blob.seek(first * _ITEM)
            piece = blob.read((last - first) * _ITEM)
            inside = (first == 0 or piece[:_KEY] < key) and (last == files or piece[-_ITEM : -_ITEM + _KEY] > key)
            if not inside:
                blob.seek(0)
                piece = blob.read()
        return _matches(piece, key)

    def _entry(self, rowid: int, number: int) -> FileEntry:
        row = self.connection.execute(
            "SELECT lines FROM blocks WHERE manifest = ? AND number = ?", (rowid, number // BLOCK)
        ).fetchone()
        return parse_line(zlib.decompress(row[0]).split(b"\n")[number % BLOCK])


def default_index() -> Index:
    """The user's index."""
    return Index(_default_path())


def drop_index() -> None:
    """Forget the user's index, because it is damaged; the next use makes it anew."""
    with suppress(OSError):
        _default_path().unlink()


def _default_path() -> Path:
    return settings.home() / "cache" / "contents.sqlite"


def _matches(piece: bytes, key: bytes) -> list[int]:
    count = len(piece) // _ITEM
    place = bisect_left(range(count), key, key=lambda index: piece[index * _ITEM : index * _ITEM + _KEY])
    found = []
    while place < count and piece[place * _ITEM : place * _ITEM + _KEY] == key:
        found.append(int.from_bytes(piece[place * _ITEM + _KEY : (place + 1) * _ITEM], "big"))
        place += 1
    return found


def _content_key(digest: str) -> bytes:
    return bytes.fromhex(digest[: 2 * _KEY])


def _path_key(path: str) -> bytes:
    from blake3 import blake3

    return blake3(path.encode()).digest(_KEY)


def _opened(path: Path) -> sqlite3.Connection:
    """The index's file, made anew when it is damaged or of another version; one in memory when it cannot be had."""
    for attempt in ("as it is", "anew"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_BUSY)
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute("PRAGMA synchronous = OFF")  # a cache: a power cut may cost it, and it is made anew
            if version == 0:
                with connection:
                    connection.executescript(f"BEGIN IMMEDIATE; {_CREATE} COMMIT;")
            elif version != SCHEMA:
                raise sqlite3.DatabaseError(f"of schema {version}")
            return connection
        except (sqlite3.Error, OSError) as error:
            _log.info("the index %s cannot be used %s: %s", path, attempt, error)
            with suppress(OSError):
                path.unlink()
    connection = sqlite3.connect(":memory:")
    connection.executescript(_CREATE)
    return connection


def replace_uses(connection: sqlite3.Connection, rows: Iterable[tuple[object, ...]]) -> None:
    """Put rows of `uses` in, in place of those of the same run and role."""
    connection.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
