"""Which of the files that a process opened may be data, by their names and folders, and how they are shown.

Left out are code, configuration, hidden files, temporary files, MLflow's stores, this package's own folder, and what
belongs to Python or the system. MLFLOW_DSVER_WATCH may name the only folders that count.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from mlflow_dsver import settings
from mlflow_dsver.secrets import redacted
from mlflow_dsver.text import one_line, text_of
from mlflow_dsver.tracking.opened_files import CODE_SUFFIXES, is_code_folder

PATH_LENGTH = 500
"""Characters of a path as it is shown at most."""
_NO_DATA = (".", "MLproject", "Dockerfile", "Makefile", "README", "LICENSE", "requirements", "mlflow.db")
"""Beginnings of names that are no data."""
_STORES = frozenset({"mlruns", "mlartifacts"})


class Folder(NamedTuple):
    """A folder of opened files.

    real: without symbolic links, and with `/` at its end. created_here: it or one above it was made by the process.
    """

    real: str
    may_have_data: bool
    created_here: bool


class DataPaths:
    """Which paths may be data, by their names and folders."""

    def __init__(self, stores: Iterable[Path], written: Collection[str]) -> None:
        self._here = _with_slash(str(Path.cwd()))
        self._only = tuple(_with_slash(os.path.realpath(each)) for each in settings.watched_folders() or ())
        self._temporary = (_with_slash(os.path.realpath(tempfile.gettempdir())), "/tmp/", "/var/tmp/")  # noqa: S108  (nothing is written there)
        here = _with_slash(os.path.realpath(self._here))
        left_out = [_with_slash(os.path.realpath(each)) for each in (settings.home(), *stores)]
        self._left_out = tuple(each for each in left_out if not here.startswith(each))
        self._written = written
        self._folders: dict[str, Folder] = {}

    def folder_of(self, path: str) -> Folder:
        """The folder of a file, looked at once."""
        folder = path.rpartition("/")[0]
        known = self._folders.get(folder)
        if known is None:
            real = _with_slash(os.path.realpath(folder or "/"))
            may = self._may_have_data(f"{folder}/") and self._may_have_data(real)
            parents = chain(_with_parents(folder), _with_parents(real.rstrip("/")))
            created = bool(self._written) and any(each in self._written for each in parents)
            known = self._folders[folder] = Folder(real, may, created)
        return known

    def may_be(self, name: str) -> bool:
        """Whether a file of that name may be data."""
        return not (name.startswith(_NO_DATA) or name.endswith(CODE_SUFFIXES))

    def _may_have_data(self, folder: str) -> bool:
        if is_code_folder(folder) or folder.startswith(self._left_out):
            return False
        if self._only and not folder.startswith(self._only):
            return False
        below = folder.startswith(self._here)
        if not below and not self._only and folder.startswith(self._temporary):
            return False
        parts = (folder[len(self._here) :] if below else folder).split("/")
        return _STORES.isdisjoint(parts) and not any(
            part.startswith(".") and part not in (".", "..") for part in parts
        )

    def is_counted(self, path: str) -> bool:
        """Whether a path that there was no time to judge may be data."""
        return self.may_be(path.rpartition("/")[2]) and self._may_have_data(path)

    def shown(self, path: str) -> str:
        """The path as text: below the working folder relative to it, on one line, and without secrets."""
        text = path[len(self._here) :] if path.startswith(self._here) else path
        return one_line(redacted(text_of(text)), PATH_LENGTH)


def _with_slash(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _with_parents(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
