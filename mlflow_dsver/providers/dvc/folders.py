"""Says which reference names a folder or file that DVC tracks, and whether the working tree is as committed."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from mlflow_dsver.errors import DsverError, NotFound
from mlflow_dsver.model.refs import parse
from mlflow_dsver.plugins import FolderReference
from mlflow_dsver.providers.dvc.outs import out_at, outs_in
from mlflow_dsver.providers.dvc.provider import DvcProvider, md5_of
from mlflow_dsver.providers.git.repository import repository_of
from mlflow_dsver.text import human_count


def folder_reference(path: Path) -> FolderReference | None:
    """The reference of what DVC tracks at a path; None where it tracks nothing there. Reads the files."""
    try:
        repository, below = repository_of(path)
        head = repository.commit_id(None)
        out = out_at(repository, head, below) if head is not None and below else None
        if out is None or head is None:
            return None
        provider = DvcProvider()
        version = provider.resolve(parse(f"dvc://{path}"))
    except DsverError:
        return None
    now = repository.folder / out.file
    listed = list(outs_in(now.read_bytes(), out.file)) if now.is_file() else []
    if not any((each.path, each.md5) == (out.path, out.md5) for each in listed):
        return FolderReference(str(version), f"{out.file} here is not as committed")
    try:
        wanted = {entry.path: entry for entry in provider.manifest(version).entries}
    except NotFound:
        return FolderReference(str(version), "DVC does not have the list of its files here")
    present = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    names = {(each.name if path.is_file() else each.relative_to(path).as_posix()): each for each in present}
    changed = len(set(wanted) ^ set(names))
    for name in set(wanted) & set(names):
        same_size = wanted[name].bytes == names[name].stat().st_size
        changed += not (same_size and md5_of(wanted[name]) == _md5(names[name]))
    return FolderReference(str(version), f"{human_count(changed, 'file')} here differ from it" if changed else None)


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
