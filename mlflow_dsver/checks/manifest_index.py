"""A local SQLite index of manifests that finds the contents with a given file, in milliseconds for thousands of them.

The files of a manifest are put into 256 buckets by the first byte of a 64-bit key (of each digest, and of a hash of
the path), and the buckets of one number are adjacent for all manifests. A search therefore reads one 256th of the
index and looks for eight bytes in it. The manifest lines are stored in compressed blocks: a hit is confirmed by its
full digest or path, and no other block is read. The index takes about 100 bytes per file.

The index is a cache that `mlflow_dsver.checks.contains` fills; it may be deleted at any time. A damaged index, or one
of another schema, is rebuilt. If the file cannot be written, the index is kept in memory for the process.
"""

from __future__ import annotations

import logging
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from mlflow_dsver import settings
from mlflow_dsver.checks.manifest_stream import ManifestStream, parse_line
from mlflow_dsver.model.differences import content_keys
from mlflow_dsver.model.manifests import FileEntry

SCHEMA = 3
BLOCK = 256
"""Manifest lines per block."""

_KEY = 8
_NUMBER = 4
_ITEM = _KEY - 1 + _NUMBER
"""Bytes per file in a bucket: its key without the first byte, and its line number."""

_BY_CONTENT, _BY_PATH = 0, 1
_BUSY = 30.0
_CREATE = f"""
CREATE TABLE manifests (
    id INTEGER PRIMARY KEY, digest TEXT UNIQUE NOT NULL, files INTEGER NOT NULL
);
CREATE TABLE buckets (
    kind INTEGER NOT NULL, number INTEGER NOT NULL, manifest INTEGER NOT NULL, items BLOB NOT NULL,
    PRIMARY KEY (kind, number, manifest)
) WITHOUT ROWID;
CREATE TABLE blocks (
    manifest INTEGER NOT NULL, number INTEGER NOT NULL, lines BLOB NOT NULL, PRIMARY KEY (manifest, number)
) WITHOUT ROWID;
CREATE TABLE uses (
    server TEXT NOT NULL, run TEXT NOT NULL, role TEXT NOT NULL, name TEXT NOT NULL, experiment TEXT NOT NULL,
    started REAL, version TEXT NOT NULL, digest TEXT, PRIMARY KEY (server, run, role)
) WITHOUT ROWID;
CREATE INDEX uses_by_digest ON uses (digest);
CREATE TABLE algorithms (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE stored (version TEXT PRIMARY KEY, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE models (
    server TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, run TEXT NOT NULL,
    PRIMARY KEY (server, name, version)
) WITHOUT ROWID;
CREATE INDEX models_by_run ON models (server, run);
CREATE TABLE origins (
    server TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, role TEXT NOT NULL, dataset TEXT NOT NULL,
    PRIMARY KEY (server, name, version, role)
) WITHOUT ROWID;
CREATE INDEX origins_by_dataset ON origins (server, dataset);
CREATE TABLE gone (
    server TEXT NOT NULL, version TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (server, version, digest)
) WITHOUT ROWID;
CREATE TABLE refreshed (server TEXT PRIMARY KEY, everything REAL NOT NULL, lately REAL NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {SCHEMA};
"""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexedUse:
    """A run that used a content in a role. started: Unix time in seconds; None if MLflow has none."""

    run_id: str
    role: str
    name: str
    experiment: str
    started: float | None
    version: str


class Index:
    """The index in a file; use it in a `with` block. connection: for writing to it, in transactions."""

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
        """Add a compressed manifest and return its content digest. Raises InvalidManifest and then adds nothing."""
        lines = ManifestStream(stream)
        blocks: list[bytes] = []
        buckets: dict[tuple[int, int], list[bytes]] = {}
        count = 0
        algorithms: set[str] = set()
        rows = iter(lines)
        while batch := list(islice(rows, BLOCK)):
            for line in batch:
                entry = parse_line(line)
                number = count.to_bytes(_NUMBER, "big")
                keys = [(_BY_PATH, _path_key(entry.path))]
                for content in filter(is_searchable, content_keys(entry)):
                    algorithms.add(content.partition(":")[0])
                    keys.append((_BY_CONTENT, _content_key(content)))
                for kind, key in keys:
                    buckets.setdefault((kind, key[0]), []).append(key[1:] + number)
                count += 1
            blocks.append(zlib.compress(b"\n".join(batch), 1))
        with self.connection:
            cursor = self.connection.execute(
                "INSERT OR IGNORE INTO manifests (digest, files) VALUES (?, ?)", (lines.content_digest, count)
            )
            if cursor.rowcount:
                rowid = cursor.lastrowid
                self.connection.executemany(
                    "INSERT INTO blocks VALUES (?, ?, ?)",
                    ((rowid, number, block) for number, block in enumerate(blocks)),
                )
                self.connection.executemany(
                    "INSERT INTO buckets VALUES (?, ?, ?, ?)",
                    ((kind, number, rowid, b"".join(items)) for (kind, number), items in sorted(buckets.items())),
                )
                self.connection.executemany(
                    "INSERT OR IGNORE INTO algorithms VALUES (?)", ((name,) for name in sorted(algorithms))
                )
        return lines.content_digest

    def by_content(self, *keys: str) -> Iterator[tuple[str, FileEntry]]:
        """(content digest, file) of every manifest with a file of one of these checksums, such as `sha256:<hex>`."""
        seen = set()
        wanted = set(keys)
        for key in keys:
            for digest, entry in self._found(
                _BY_CONTENT, _content_key(key), lambda entry: not wanted.isdisjoint(content_keys(entry))
            ):
                if (digest, entry.path) not in seen:
                    seen.add((digest, entry.path))
                    yield digest, entry

    def algorithms(self) -> list[str]:
        """Names of the checksums by which files can be found."""
        return [row[0] for row in self.connection.execute("SELECT name FROM algorithms ORDER BY 1")]

    def by_path(self, path: str) -> Iterator[tuple[str, FileEntry]]:
        """(content digest, file) of every manifest with a file under exactly that path."""
        return self._found(_BY_PATH, _path_key(path), lambda entry: entry.path == path)

    def uses(self, content_digest: str, server: str) -> list[IndexedUse]:
        """The runs on a tracking server that used a content, newest first."""
        rows = self.connection.execute(
            "SELECT run, role, name, experiment, started, version FROM uses WHERE digest = ? AND server = ? "
            "ORDER BY started DESC, run, role",
            (content_digest, server),
        )
        return [IndexedUse(*row) for row in rows]

    def versions(self, content_digest: str, server: str) -> list[str]:
        """The versions that have a content: in the local store, or used by runs or by deleted runs of models."""
        rows = self.connection.execute(
            "SELECT version FROM stored WHERE digest = ?1 "
            "UNION SELECT version FROM uses WHERE digest = ?1 AND server = ?2 "
            "UNION SELECT version FROM gone WHERE digest = ?1 AND server = ?2 ORDER BY 1",
            (content_digest, server),
        )
        return [row[0] for row in rows]

    def models(self, run_id: str, server: str) -> list[str]:
        """The registered model versions of a run."""
        rows = self.connection.execute(
            "SELECT name, version FROM models WHERE run = ? AND server = ? ORDER BY 1, 2", (run_id, server)
        )
        return [f"{name} version {version}" for name, version in rows]

    def models_without_run(self, version: str, server: str) -> list[str]:
        """The registered model versions that were made from a dataset version by a deleted run."""
        rows = self.connection.execute(
            "SELECT DISTINCT o.name, o.version FROM origins o LEFT JOIN models m "
            "ON m.server = o.server AND m.name = o.name AND m.version = o.version "
            "WHERE o.dataset = ?1 AND o.server = ?2 "
            "AND (m.run IS NULL OR m.run NOT IN (SELECT run FROM uses WHERE server = ?2)) ORDER BY 1, 2",
            (version, server),
        )
        return [f"{name} version {version}" for name, version in rows]

    def unlisted(self, server: str) -> list[str]:
        """Versions that runs used and that have no manifest in the index, so that they cannot be searched."""
        rows = self.connection.execute(
            "SELECT DISTINCT version FROM uses WHERE server = ? "
            "AND (digest IS NULL OR digest NOT IN (SELECT digest FROM manifests)) ORDER BY 1",
            (server,),
        )
        return [row[0] for row in rows]

    def size(self) -> tuple[int, int]:
        """The number of manifests and of the files in them."""
        row = self.connection.execute("SELECT count(*), coalesce(sum(files), 0) FROM manifests").fetchone()
        return int(row[0]), int(row[1])

    def _found(self, kind: int, key: bytes, matches: Callable[[FileEntry], bool]) -> Iterator[tuple[str, FileEntry]]:
        rows = self.connection.execute(
            "SELECT manifest, items FROM buckets WHERE kind = ? AND number = ?", (kind, key[0])
        )
        hits = [(rowid, _numbers(items, key[1:])) for rowid, items in rows if key[1:] in items]
        for rowid, numbers in hits:
            row = self.connection.execute("SELECT digest FROM manifests WHERE id = ?", (rowid,)).fetchone()
            for number in numbers:
                entry = self._entry(rowid, number)
                if matches(entry):
                    yield row[0], entry

    def _entry(self, rowid: int, number: int) -> FileEntry:
        row = self.connection.execute(
            "SELECT lines FROM blocks WHERE manifest = ? AND number = ?", (rowid, number // BLOCK)
        ).fetchone()
        return parse_line(zlib.decompress(row[0]).split(b"\n")[number % BLOCK])


def default_index() -> Index:
    """The index in the user's home folder."""
    return Index(_default_path())


def drop_index() -> None:
    """Delete the damaged index in the user's home folder; the next use rebuilds it."""
    with suppress(OSError):
        _default_path().unlink()


def _default_path() -> Path:
    return settings.home() / "cache" / "contents.sqlite"


def _numbers(items: bytes, key: bytes) -> list[int]:
    """The line numbers of the items with the given key. key: without its first byte."""
    found = []
    offset = items.find(key)
    while offset >= 0:
        if offset % _ITEM == 0:  # else the bytes are part of two items
            found.append(int.from_bytes(items[offset + len(key) : offset + _ITEM], "big"))
        offset = items.find(key, offset + 1)
    return found


def is_searchable(key: str) -> bool:
    """Whether files are found by such a checksum: those of 32 and 64 bits say too little."""
    return len(key.partition(":")[2]) >= 4 * _KEY


def _content_key(key: str) -> bytes:
    return bytes.fromhex(key.partition(":")[2][: 2 * _KEY])


def _path_key(path: str) -> bytes:
    from blake3 import blake3

    return blake3(path.encode()).digest(_KEY)


def _opened(path: Path) -> sqlite3.Connection:
    """Open the index; rebuild it if it is damaged or of another schema, and use memory if it cannot be opened."""
    for state in ("as found", "rebuilt"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(path, timeout=_BUSY)
            connection.execute("PRAGMA page_size = 16384")  # SQLite ignores it once the file has content
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            connection.execute("PRAGMA synchronous = OFF")  # a power cut may damage a cache; it is rebuilt then
            if version == 0:
                with connection:
                    connection.executescript(f"BEGIN IMMEDIATE; {_CREATE} COMMIT;")
            elif version != SCHEMA:
                raise sqlite3.DatabaseError(f"of schema {version}")
            return connection
        except (sqlite3.Error, OSError) as error:
            _log.info("the index %s cannot be used (%s): %s", path, state, error)
            with suppress(OSError):
                path.unlink()
    connection = sqlite3.connect(":memory:")
    connection.executescript(_CREATE)
    return connection


def replace_uses(connection: sqlite3.Connection, rows: Iterable[tuple[object, ...]]) -> None:
    """Insert rows into `uses`, replacing those of the same server, run and role."""
    connection.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
