"""A cache in a folder: files that can be computed or fetched again, limited in number, size and age.

Any number of processes use it at the same time without a lock: each file is written beside and renamed, so a reader
gets a whole file or none, and whoever adds a file removes what is too much. The oldest by mtime go first. A full,
read-only or missing disk is no error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlflow_dsver.content.atomic_files import atomic_write

ABANDONED = 3600.0
"""Seconds after which the temporary file of a killed writer is removed."""


@dataclass(frozen=True, slots=True)
class FileCache:
    """The files of a folder, which is created when the first is added; readable by their owner alone.

    max_files: how many. max_bytes: of all together. max_file_bytes: of each. max_age: seconds since a file was last
    written or marked as used. None for no bound. suffix: files with other names are neither listed nor removed.
    No method raises because of the state of the disk.
    """

    folder: Path
    max_files: int | None = None
    max_bytes: int | None = None
    max_file_bytes: int | None = None
    max_age: float | None = None
    suffix: str = ""

    def get(self, name: str, *, mark_used: bool = False) -> bytes | None:
        """The content of a file; None when there is none, or it is larger than `max_file_bytes`.

        mark_used: its age counts from now.
        """
        path, limit = self.folder / name, self.max_file_bytes
        try:
            with path.open("rb") as stream:
                content = stream.read(-1 if limit is None else limit + 1)
        except OSError:
            return None
        if limit is not None and len(content) > limit:
            return None
        if mark_used:
            with suppress(OSError):
                os.utime(path)
        return content

    def put(self, name: str, content: bytes) -> None:
        """Add or replace a file, unless it is larger than a bound; when it is new, `prune`."""
        path = self.folder / name
        if any(limit is not None and len(content) > limit for limit in (self.max_bytes, self.max_file_bytes)):
            return
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            with atomic_write(path, mode=0o600, durable=False) as stream:
                stream.write(content)
            if is_new:
                self.prune()

    def names(self) -> list[str]:
        """The names of all files."""
        return [each.name for each, _ in self._files() if self._is_ours(each.name)]

    def remove(self, name: str) -> None:
        """Remove a file; nothing when there is none."""
        with suppress(OSError):
            (self.folder / name).unlink(missing_ok=True)

    def prune(self) -> None:
        """Remove what is over a bound, the oldest first, and the temporary files of killed writers."""
        now = time.time()
        files = []
        for entry, status in self._files():
            if self._is_ours(entry.name):
                files.append((status.st_mtime, status.st_size, entry.name))
            elif entry.name.startswith(".") and entry.name.endswith(".tmp") and now - status.st_mtime > ABANDONED:
                self.remove(entry.name)
        count, total = len(files), sum(size for _, size, _ in files)
        for written, size, name in sorted(files):
            is_old = self.max_age is not None and now - written > self.max_age
            is_too_many = self.max_files is not None and count > self.max_files
            is_too_large = self.max_bytes is not None and total > self.max_bytes
            if not (is_old or is_too_many or is_too_large):
                return
            self.remove(name)
            count, total = count - 1, total - size

    def _is_ours(self, name: str) -> bool:
        return name.endswith(self.suffix) and not name.startswith(".")

    def _files(self) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):  # removed by another process
                    yield entry, entry.stat(follow_symlinks=False)
