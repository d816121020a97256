"""One file of a version as a stream: seekable, read in blocks."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, BinaryIO

BLOCK = 4 << 20
"""Bytes that one request gets when a file is read piece by piece."""
LARGE = 32 << 20
"""Bytes that one request gets when the whole rest is read."""


def open_stream(size: int, read: Callable[[int, int], bytes], name: str) -> BinaryIO:
    """A binary stream of a file. size: in bytes. read: the bytes from one offset to another."""
    return io.BufferedReader(_File(size, read, name), buffer_size=BLOCK)


class _File(io.RawIOBase):
    """A read-only stream; `readinto` gets a block with one request and gives from it."""

    def __init__(self, size: int, read: Callable[[int, int], bytes], name: str) -> None:
        self._size, self._read, self.name = size, read, name
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}.get(whence)
        if start is None:
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        if start + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._position = start + offset
        return self._position

    def readall(self) -> bytes:
        """The rest, in large pieces: the base class would ask for 8 KiB at a time."""
        parts = []
        while self._position < self._size:
            stop = min(self._position + LARGE, self._size)
            parts.append(self._read(self._position, stop))
            self._position = stop
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._size)
        if stop <= self._position:
            return 0
        content = self._read(self._position, stop)
        view[: len(content)] = content
        self._position += len(content)
        return len(content)
