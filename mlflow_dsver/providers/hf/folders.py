"""Tells from a folder or file in a cache of the Hub's client which commit it is, and what differs from that commit.

`…/datasets--owner--name/snapshots/<commit>/…`, wherever the cache is. The names of its blobs are checksums of their
content, so files up to a size are hashed; whether files are missing is known where the client kept the listing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mlflow_dsver.content.checksums import file_checksums
from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.plugins import FolderReference
from mlflow_dsver.providers.hf.cache import read_listing
from mlflow_dsver.providers.hf.info import COMMIT, KINDS, NAME, Place
from mlflow_dsver.providers.hf.listing import blob_of, sha256_of
from mlflow_dsver.text import human_count, one_line

MAX_HASHED = 64 << 20
"""Bytes of a file up to which it is hashed; of larger ones only the size is compared."""
_DIGITS = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")


def reference_of(path: Path) -> FolderReference | None:
    """The commit, or the folder or file in it, that a path in a cache is; None for any other path."""
    parts = path.parts
    for number in range(len(parts) - 2, 1, -1):
        if parts[number] == "snapshots" and COMMIT.match(parts[number + 1]):
            place = _place(parts[number - 1], "/".join(parts[number + 2 :]))
            if place is not None:
                repository = Path(*parts[:number])
                commit = parts[number + 1]
                try:
                    reference = DatasetRef(NAME, place.dataset, commit)
                except InvalidReference:
                    return None
                return FolderReference(str(reference), _differs(repository, commit, place.path, path))
    return None


def _place(name: str, below: str) -> Place | None:
    kind, *names = name.split("--")
    if kind not in KINDS or not 1 <= len(names) <= 2 or not all(names):
        return None
    if below and len(names) == 1:
        return None  # a folder of a repository without an owner has no reference
    return Place(kind, "/".join(names), below)


def _differs(repository: Path, commit: str, below: str, path: Path) -> str | None:
    listed = read_listing(repository / "trees" / f"{commit}.json")
    root = repository / "snapshots" / commit
    found = {file.relative_to(root).as_posix(): file for file in _files(path)}
    wrong = sorted(name for name, file in found.items() if not _is_right(file, (listed or {}).get(name)))
    added = sorted(set(found) - set(listed)) if listed is not None else []
    inside = [name for name in listed or () if name == below or name.startswith(f"{below}/" if below else "")]
    missing = sorted(set(inside) - set(found))
    told = [
        f"{human_count(len(names), 'file')} {what}, such as {one_line(names[0], 200)}"
        for what, names in (("changed", wrong), ("missing", missing), ("added", added))
        if names
    ]
    return "; ".join(told) or None


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for file in path.rglob("*"):
        if not file.is_dir():
            yield file


def _is_right(file: Path, listed: FileEntry | None) -> bool:
    """Whether a file has the content that the listing, or else the name of its blob, says."""
    try:
        size = file.stat().st_size
        expected = (sha256_of(listed) or blob_of(listed) or "") if listed is not None else _blob_name(file)
        if listed is not None and size != listed.bytes:
            return False
        if not _DIGITS.match(expected) or size > MAX_HASHED:
            return True
        (found,) = file_checksums(file, ["sha256" if len(expected) == 64 else "gitblob"])
        return found.value == expected
    except OSError:
        return False


def _blob_name(file: Path) -> str:
    """The name of the blob that a file of a snapshot is a link to; empty for a plain file."""
    return file.readlink().name if file.is_symlink() else ""
