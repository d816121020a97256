"""What `path` gives out for a version by reference whose folder has files that the version does not have.

Patterns leave files out (`.dsverignore`, caches of a former training), and whoever lists the folder would read them
all the same. So a read-only folder of symbolic links is given out, one for each file of the version:

    views/<digest>/links-<hash of the folder>, links-…-2, …

They are made once and looked at each time. One that somebody wrote to is left to whoever uses it, and another is
made.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

from mlflow_dsver.content.atomic_files import safe_join
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.os_names import text_of
from mlflow_dsver.providers.local.store import Store, meanings


def linked_view(store: Store, source: Path, manifest: Manifest) -> Path:
    """A folder of links to the manifest's files in a folder, and nothing else. Raises StoreError."""
    from blake3 import blake3

    name = f"links-{blake3(os.fsencode(source)).hexdigest()[:16]}"
    wanted = {entry.path: os.fspath(safe_join(source, entry.path)) for entry in manifest.entries}
    with meanings("a folder of links cannot be made"):
        for number in count(1):
            view = store.view(manifest.digest) / (name if number == 1 else f"{name}-{number}")
            if not view.is_dir():
                _make(store, view, wanted)
            if _links(view) == wanted:
                return view
    raise AssertionError("there is always a further number")


def _make(store: Store, view: Path, wanted: dict[str, str]) -> None:
    with store.writing(), store.scratch() as scratch:
        folder = scratch / "links"
        folder.mkdir()
        for path, target in wanted.items():
            link = safe_join(folder, path)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        for parent, _, _ in os.walk(folder, topdown=False):
            if parent != str(folder):  # a folder without permission to write cannot be renamed
                Path(parent).chmod(0o555)
        view.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(view)
        except OSError:
            if not view.is_dir():
                raise
            return  # another process was first
        view.chmod(0o555)


def _links(view: Path) -> dict[str, str]:
    """Path below the view to what the link there leads to; an empty text for what is no link."""
    found = {}
    for parent, folders, files in os.walk(view):
        below = Path(parent).relative_to(view)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in (*files, *links):
            path = Path(parent, name)
            found[text_of((below / name).as_posix())] = os.fspath(path.readlink()) if path.is_symlink() else ""
    return found
