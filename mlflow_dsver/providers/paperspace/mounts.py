"""Where a dataset's files may lie on this machine: inside a Paperspace notebook or workflow, or where a setting says.

Nothing there tells a program which version is mounted. A notebook's `.gradient/settings.yaml` names the dataset and
a selector for each mount below `/datasets`; a workflow's inputs lie in `/inputs/<name>`. A mount of `latest` is what
was newest when the machine started, which may be older than what the service calls latest now. So a mount is a guess
until its bytes are compared, and this module only finds it and says what is known.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.model.refs import LATEST
from mlflow_dsver.providers.paperspace.info import PATHS
from mlflow_dsver.text import one_line

log = logging.getLogger(__name__)

_REFERENCE = re.compile(r"(?:[^/:@\s]+/)?([^/:@\s]+)(?::([^/:@\s]+))?\Z")


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders that are looked into; others in tests.

    mounted: folders whose subfolders are mounts. workspaces: folders that may have a `.gradient/settings.yaml`.
    """

    mounted: tuple[Path, ...] = (Path("/datasets"), Path("/inputs"))
    workspaces: tuple[Path, ...] = (Path("/notebooks"),)

    def settings_files(self) -> Iterator[Path]:
        """The files there might be, those of the working folder and its parents first."""
        here = Path.cwd()
        for folder in dict.fromkeys((here, *here.parents, *self.workspaces)):
            yield folder / ".gradient" / "settings.yaml"


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder that may hold a dataset's files.

    pinned: the version or tag that it was mounted by; None when that is `latest` or unknown. said_by: what says so.
    """

    folder: Path
    pinned: str | None
    said_by: str

    def contradicts(self, version: str, tags: tuple[str, ...]) -> bool:
        """Whether it is known to be another version than this one."""
        return self.pinned is not None and self.pinned != version and self.pinned not in tags


def find(dataset: str, name: str | None, roots: Roots) -> Mount | None:
    """The mount of a dataset, by its id in a settings file, else by a folder called like its id or name.

    Raises SettingsError for a settings file that cannot be read.
    """
    for path in roots.settings_files():
        for integration, reference in _integrations(path).items():
            found = _REFERENCE.match(reference)
            if found and found[1] in (dataset, name):
                folder = _below(roots, integration)
                if folder is not None:
                    pinned = None if found[2] in (None, LATEST) else found[2]
                    return Mount(folder, pinned, str(path))
    for called in filter(None, (dataset, name)):
        folder = _below(roots, called)
        if folder is not None:
            return Mount(folder, None, f"the name of {folder}")
    return None


def configured(setting: str | None) -> dict[str, Path]:
    """Dataset or version to folder, from text such as `dst364npcw6ccok=/data/cats;dsr5zdx0thjhfe2@a1b2c3d=/digits`.

    A version is written after its dataset and `@` or `:`, and has `@` in the key here.
    """
    folders = {}
    for entry in filter(None, ((setting or "").split(";"))):
        dataset, separator, folder = entry.strip().partition("=")
        if not separator or not dataset or not folder:
            raise SettingsError(PATHS.variable, expected="dataset=folder;dataset=folder", got=one_line(entry, 60))
        folders[dataset.strip().replace(":", "@")] = settings.expanded(folder.strip(), PATHS.variable)
    return folders


def _below(roots: Roots, name: str) -> Path | None:
    if "/" in name or name.startswith("."):
        return None
    return next((root / name for root in roots.mounted if (root / name).is_dir()), None)


def _integrations(path: Path) -> Mapping[str, str]:
    """Name of each dataset that a settings file mounts, and its reference."""
    document = settings.yaml_file(path)
    integrations = document.get("integrations") if isinstance(document, dict) else None
    found = {}
    for name, entry in integrations.items() if isinstance(integrations, dict) else ():
        reference = _reference(entry)
        if isinstance(name, str) and reference is not None:
            found[name] = reference
    return found


def _reference(entry: Any) -> str | None:
    """`ref`, or `id` with `version` beside it, of a mount whose type is dataset."""
    if not isinstance(entry, dict) or entry.get("type", "dataset") != "dataset":
        return None
    reference = entry.get("ref") or entry.get("id")
    if not isinstance(reference, str):
        return None
    version = entry.get("version")
    return f"{reference}:{version}" if version and ":" not in reference else reference
