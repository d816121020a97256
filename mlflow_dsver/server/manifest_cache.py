"""A folder of files that were fetched once, up to a number of bytes; those not used for longest go first.

For any number of processes at the same time and without a lock: each file is written beside and renamed, so a reader
gets a whole one or none, and whoever adds a file looks whether others have to go. When a file was last used stands
in its mtime. What can be fetched again may be lost, so a disk that is full or read-only is no error here.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

from mlflow_dsver.content.atomic_files import atomic_write

MOST_FILES = 10_000
"""Files that are kept at most, so that looking at all of them takes milliseconds."""
ABANDONED = 3600.0
"""Seconds after which a file that somebody began to write and did not finish is taken away."""


def get(folder: Path, key: str) -> bytes | None:
    """What was put under a key, which counts as a use of it; None when there is nothing, or no more."""
    path = _path(folder, key)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        os.utime(path)
    except OSError:
        pass  # gone by now, or a read-only disk
    return content


def put(folder: Path, key: str, content: bytes, *, limit: int) -> None:
    """Keep a content under a key, and take away others until all together are at most `limit` bytes.

    A content that is larger than the limit is not kept. While several processes put at once, each may add one file
    that the others do not see yet.
    """
    if len(content) > limit:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(_path(folder, key), durable=False) as stream:
            stream.write(content)
        _make_room(folder, limit)
    except OSError:
        return


def _make_room(folder: Path, limit: int) -> None:
    files = []
    with os.scandir(folder) as found:
        for each in found:
            try:
                status = each.stat(follow_symlinks=False)
            except OSError:
                continue  # another process took it away
            if not each.name.startswith("."):
                files.append((status.st_mtime_ns, status.st_size, each.path))
            elif time.time() - status.st_mtime > ABANDONED:
                Path(each.path).unlink(missing_ok=True)
    total, count = sum(size for _, size, _ in files), len(files)
    for _, size, path in sorted(files):
        if total <= limit and count <= MOST_FILES:
            return
        Path(path).unlink(missing_ok=True)
        total, count = total - size, count - 1


def _path(folder: Path, key: str) -> Path:
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()}.jsonl.gz"
