"""Copies that preserve the holes of sparse files: databases and simulations leave gigabytes of zeros that take no
space.

Zeros are skipped with a seek, which leaves a hole: large blocks of zeros in any file, and in a sparse source every
block of the file system. The content of the copy, and its digest, is the same.
"""

from __future__ import annotations

import os

GRAIN = 4096
"""Minimum bytes of a hole where the source is sparse: the block size of most file systems."""


def is_sparse(status: os.stat_result) -> bool:
    """Whether a file takes less space than its size (it is sparse, or compressed by its file system)."""
    return getattr(status, "st_blocks", status.st_size) * 512 < status.st_size


class HoleWriter:
    """Writes to an empty file from its beginning, and leaves holes for zeros. OSError propagates.

    fine: look for zeros in each block, for a sparse source; otherwise only a `write` of nothing but zeros leaves a
    hole.
    """

    def __init__(self, descriptor: int, *, fine: bool) -> None:
        self._descriptor = descriptor
        self._fine = fine
        self._hole = False  # whether the file ends with a hole

    def write(self, content: bytes | memoryview) -> None:
        """Write the next bytes."""
        if not self._fine:
            self._piece(memoryview(content))
            return
        whole = memoryview(content)
        for start in range(0, len(whole), GRAIN):
            self._piece(whole[start : start + GRAIN])

    def finish(self) -> None:
        """Set the file's length, which a hole at the end does not."""
        if self._hole:
            os.ftruncate(self._descriptor, os.lseek(self._descriptor, 0, os.SEEK_CUR))

    def _piece(self, piece: memoryview) -> None:
        self._hole = len(piece) >= GRAIN and piece[0] == 0 and piece[-1] == 0 and bytes(piece) == bytes(len(piece))
        if self._hole:
            os.lseek(self._descriptor, len(piece), os.SEEK_CUR)
            return
        write_all(self._descriptor, piece)


def write_all(descriptor: int, content: memoryview) -> None:
    """Write all of the content, after short writes too; OSError propagates."""
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, content[written:])
