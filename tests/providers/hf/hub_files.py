"""What the tests of the Hub have in its emulator."""

from __future__ import annotations

from pathlib import Path

DIGITS = "datasets/someone/digits"
FILES = {"README.md": b"# Digits\n", "data/train.csv": b"a,b\n1,2\n", "data/images.bin": bytes(range(256)) * 8}
LARGE = ["data/images.bin"]


def content(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
