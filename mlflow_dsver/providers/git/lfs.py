"""git-LFS: pointer files, and where the files that they stand for lie on this machine.

A pointer has the SHA-256 and the size of a file (git-lfs, docs/spec.md, version 1). The files are in `lfs/objects`
of the repository once git-lfs has fetched them; `lfs_server` gets others.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

MAX_POINTER = 1024
"""Bytes of a pointer file are fewer than this, by its specification."""
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*"
    rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})\n\Z"
)


class Pointer(NamedTuple):
    """sha256: 64 hex digits. size: of the file in bytes."""

    sha256: str
    size: int


def pointer_in(content: bytes) -> Pointer | None:
    """What a pointer file says; None for any other file."""
    found = _POINTER.match(content) if len(content) < MAX_POINTER else None
    return Pointer(found[1].decode(), int(found[2])) if found else None


def object_path(git_folder: Path, sha256: str) -> Path:
    """Where git-lfs keeps a file."""
    return git_folder / "lfs" / "objects" / sha256[:2] / sha256[2:4] / sha256
