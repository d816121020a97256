"""Which folders this process was given for which versions, so that they are looked at again when the run ends.

What training reads is what we gave out: if that is other at the end of the run than at its start, the record would
say too much. A copy that the caller asked for in a folder of their own is theirs, and is not among these.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from mlflow_dsver import settings
from mlflow_dsver.model.refs import DatasetRef

REMEMBERED = 1_000
"""Versions whose folder is remembered at most; the oldest go first."""

_folders: OrderedDict[DatasetRef, tuple[Path, Path]] = OrderedDict()


def note(version: DatasetRef, folder: Path) -> None:
    """The folder was given out as the files of that version."""
    _folders[version] = (settings.home(), folder)
    _folders.move_to_end(version)
    while len(_folders) > REMEMBERED:
        _folders.popitem(last=False)


def folder_of(version: DatasetRef) -> Path | None:
    """The folder that was given out last for a version; None when none was, or from another home of the store."""
    home, folder = _folders.get(version, (None, None))
    return folder if home == settings.home() else None
