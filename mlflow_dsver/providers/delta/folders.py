"""Which reference names a folder that is a Delta table, or lies in one."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.plugins import FolderReference
from mlflow_dsver.providers.delta.info import NAME, folder_dataset
from mlflow_dsver.providers.delta.log import FOLDER, read_log
from mlflow_dsver.providers.delta.places import place_of
from mlflow_dsver.providers.delta.snapshot import load
from mlflow_dsver.text import one_line


def reference_of(path: Path) -> FolderReference | None:
    """The newest version of the table that a folder or file belongs to; None where there is no table."""
    root = next(filter(_is_table, (path, *path.parents)), None)
    if root is None:
        return None
    try:
        ref = DatasetRef(NAME, unquote(folder_dataset(root)))
    except DsverError:
        return None  # a name that no reference can have
    place = place_of(ref.dataset)
    try:
        found = load(place, log=read_log(place))
    except DsverError as error:
        return FolderReference(str(ref), f"its version cannot be told: {one_line(error, 300)}")
    return FolderReference(str(ref.at(found.id)))


def _is_table(folder: Path) -> bool:
    try:
        return (folder / FOLDER).is_dir()
    except OSError:
        return False  # a folder that may not be read
