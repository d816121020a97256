"""The Hub's own cache on this machine, read only: files of snapshots, and listings that its client kept.

The layout is that of huggingface_hub: below the cache folder one folder for each repository (`datasets--owner--name`)
with `snapshots/<commit>/<path>`, whose files are links to `blobs/<SHA-256 or git blob id>`, and, since version 2,
`trees/<commit>.json`. Nothing in it is believed: a file's bytes are hashed before they are used.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from mlflow_dsver.content.atomic_files import safe_join
from mlflow_dsver.content.stat_cache import is_young, stamp
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest
from mlflow_dsver.providers.hf.info import Place
from mlflow_dsver.providers.hf.listing import entry_of, is_right

_BLOCK = 1 << 20
MAX_TREE = 256 << 20
_MAX_KNOWN = 10_000

_right: dict[tuple[str, str], bytes] = {}
"""Large files that were hashed and found right, by path and checksum, with their stamp then."""
_locks: dict[tuple[str, str], Lock] = {}
_lock = Lock()


def repository_folder(cache: Path, place: Place) -> Path:
    """The folder of a repository in the cache, whether it exists or not."""
    return cache / "--".join((place.kind, *place.repo.split("/")))


class CachedSnapshot:
    """The files of one commit in the cache; each is hashed before its first bytes are given, and again if it changes.

    where: from an entry's path to the path from the repository's root. Thread-safe.
    """

    def __init__(self, cache: Path, place: Place, commit: str, where: Callable[[str], str]) -> None:
        self._cache = cache
        self._folder = repository_folder(cache, place) / "snapshots" / commit
        self._where = where
        self._exists = self._folder.is_dir()

    def read(self, entry: FileEntry, start: int, stop: int) -> bytes | None:
        """The bytes of a file from one offset to another; None where the cache does not have the right file."""
        if not self._exists:
            return None
        with suppress(OSError, InvalidManifest, ValueError):
            path = safe_join(self._folder, self._where(entry.path))
            if not path.resolve().is_relative_to(self._cache.resolve()):
                return None
            return self._read(path, entry, start, stop)
        return None

    def _read(self, path: Path, entry: FileEntry, start: int, stop: int) -> bytes | None:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size != entry.bytes:
                return None
            if (start, stop) == (0, entry.bytes):
                content = stream.read(entry.bytes + 1)
                return content if len(content) == entry.bytes and is_right(entry, [content]) else None
            key = str(path), entry.digest
            with _lock_of(key):
                if _right.get(key) != stamp(status):
                    if not is_right(entry, iter(partial(stream.read, _BLOCK), b"")):
                        return None
                    if not is_young(status, time.time_ns()):
                        _right[key] = stamp(status)
            stream.seek(start)
            content = stream.read(stop - start)
            return content if stamp(os.fstat(descriptor)) == stamp(status) else None


def _lock_of(key: tuple[str, str]) -> Lock:
    """Of the threads that read a file's parts, one hashes it."""
    with _lock:
        if len(_locks) > _MAX_KNOWN:
            _locks.clear()
            _right.clear()
        return _locks.setdefault(key, Lock())


def kept_listing(cache: Path, place: Place, commit: str) -> dict[str, FileEntry] | None:
    """The files of a commit as the Hub's client kept the listing, by path; None when it did not, or not readably."""
    path = repository_folder(cache, place) / "trees" / f"{commit}.json"
    return read_listing(path)


def read_listing(path: Path) -> dict[str, FileEntry] | None:
    """The files in a listing that the Hub's client wrote; None for anything else."""
    try:
        if path.stat().st_size > MAX_TREE:
            return None
        files = json.loads(path.read_bytes())["files"]
        return {name: _entry(name, fields) for name, fields in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, InvalidManifest):
        return None


def _entry(path: str, fields: dict[str, Any]) -> FileEntry:
    sha256 = fields.get("lfs_sha256")
    size = fields["lfs_size"] if sha256 is not None and fields.get("lfs_size") is not None else fields["size"]
    lfs = None if sha256 is None else {"oid": sha256, "size": size}
    return entry_of({"path": path, "size": size, "oid": fields["blob_id"], "lfs": lfs})
