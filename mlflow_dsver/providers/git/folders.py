"""Says which reference names a folder or file of a git checkout, and whether it is as committed."""

from __future__ import annotations

from pathlib import Path

from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.refs import parse
from mlflow_dsver.plugins import FolderReference
from mlflow_dsver.providers.git.repository import repository_of
from mlflow_dsver.text import human_count

NAME = "git"


def folder_reference(path: Path) -> FolderReference | None:
    """The reference of a path in a checkout, at the newest commit that changed it; None for one that HEAD has not."""
    try:
        repository, below = repository_of(path)
        head = repository.commit_id(None)
        if head is None or next(repository.files(head, below), None) is None:
            return None
        commit = next(repository.commits(head, [below] if below else [])).id
        ref = parse(f"{NAME}://{path}").at(commit)
        status = repository.run(
            "status", "--porcelain", "-z", "--untracked-files=all", "--", *([below] if below else [])
        )
    except DsverError:
        return None
    changed = status.count(b"\0")
    differs = f"{human_count(changed, 'file')} here {'is' if changed == 1 else 'are'} not as committed"
    return FolderReference(str(ref), differs if changed else None)
