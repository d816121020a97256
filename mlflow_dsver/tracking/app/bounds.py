"""How much of a run's artifacts a page reads: bytes, unpacked bytes, files and seconds.

Whoever may edit one run can put anything there, such as a manifest of 0.7 MB that unpacks to 200 MiB. A page that
meets more than it reads says so and names the command that has no such bounds; it never shows a part as the whole.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from io import BytesIO

from mlflow_dsver.deadlines import Deadline

_BLOCK = 1 << 18


class TooLarge(ValueError):
    """An artifact is larger than a page reads; the text names it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a page reads of one manifest at most. compressed, unpacked: bytes. files: entries."""

    compressed: int
    unpacked: int
    files: int


LISTING = Bounds(compressed=32 << 20, unpacked=128 << 20, files=1_000_000)
"""For pages that walk through manifests line by line."""
CHECKING = Bounds(compressed=16 << 20, unpacked=32 << 20, files=200_000)
"""For the check button, which holds entries in memory."""
LINK = 1 << 20
"""Bytes of the JSON of one link; what providers answer takes a few kilobytes."""


def fits(content: bytes, bounds: Bounds, deadline: Deadline) -> bool:
    """Whether a compressed manifest stays within the bounds, found out without keeping any of it.

    Damaged content fits: whoever reads it further says what is wrong. Raises DeadlineExceeded.
    """
    if len(content) > bounds.compressed:
        return False
    size = lines = 0
    try:
        with gzip.GzipFile(fileobj=BytesIO(content), mode="rb") as unzipped:
            while block := unzipped.read(_BLOCK):
                deadline.check("looking at a manifest")
                size += len(block)
                lines += block.count(b"\n")
                if size > bounds.unpacked or lines > bounds.files + 1:  # the first line is the header
                    return False
    except (gzip.BadGzipFile, EOFError, zlib.error):
        pass
    return True


class Timed(BytesIO):
    """Bytes that can be read until a deadline is over; then `read` raises DeadlineExceeded."""

    def __init__(self, content: bytes, deadline: Deadline) -> None:
        super().__init__(content)
        self._deadline = deadline

    def read(self, size: int | None = -1, /) -> bytes:
        """As of BytesIO, while there is time."""
        self._deadline.check("reading a manifest")
        return super().read(size)
