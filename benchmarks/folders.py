"""Creates the measured folders: many small files, files of mixed sizes, few large files.

Contents are pseudo-random and equal on every machine: nothing can be compressed, and no two files are equal.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 16 << 20


@dataclass(frozen=True)
class Shape:
    """A folder to be created: `files` files with sizes from `smallest` to `largest` bytes."""

    name: str
    title: str
    files: int
    smallest: int
    largest: int

    def sizes(self) -> Iterator[int]:
        """Sizes of the files in bytes, equal on every machine."""
        chance = random.Random(self.name)
        return (chance.randint(self.smallest, self.largest) for _ in range(self.files))


def shapes(small: bool) -> list[Shape]:
    """The three folders; 1 % of each if small."""
    part = 100 if small else 1
    large = (512 << 20) // part
    return [
        Shape("small", f"{50_000 // part:,} × 4 KiB", 50_000 // part, 4096, 4096),
        Shape("mixed", f"{20_000 // part:,} × 2–60 KB", 20_000 // part, 2_000, 60_000),
        Shape("large", f"4 × {large >> 20} MiB", 4, large, large),
    ]


def make(shape: Shape, parent: Path) -> Path:
    """The folder `parent/<name>/data`, created if it does not exist; 500 files per subfolder."""
    folder = parent / shape.name / "data"
    done = parent / shape.name / "made"
    if done.exists():
        return folder
    chance = random.Random(shape.name + " bytes")
    for number, size in enumerate(shape.sizes()):
        file = folder / f"part-{number // 500:03}" / f"file-{number:05}.bin"
        if number % 500 == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as stream:
            for start in range(0, size, _CHUNK):
                stream.write(chance.randbytes(min(_CHUNK, size - start)))
    done.touch()
    return folder
