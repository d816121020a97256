"""The bytes of a Paperspace version on this machine: finding a folder and comparing it with what is known.

A folder comes from a caller (`path=`), the setting MLFLOW_DSVER_PAPERSPACE_PATHS, a mount, or the team's own bucket.
It is compared with the content digest in the version's metadata and with the size that the service states. Only an
equal digest, or a folder that was named for this very version, identifies the bytes; a folder that was named for a
dataset, or an equal size, fits several versions and proves nothing.

Nothing on the machine says which version is mounted. A notebook's `.gradient/settings.yaml` names the dataset and a
selector for each mount below `/datasets`; a workflow's inputs are in `/inputs/<name>`. A mount of `latest` is what
was newest when the machine started, which may be older than the service's latest now.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow_dsver import config_files, settings
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.errors import ContentError, CorruptObject, SettingsError
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import LATEST
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace.info import PATHS
from mlflow_dsver.text import human_bytes, one_line

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that should hold a version.

    mount: how it was found; None when it was named for this very version, or fetched for it.
    """

    folder: Path
    mount: Mount | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a folder's bytes say about being a version.

    same: True when something vouches for it, False when something speaks against it, None when nothing is known.
    note: what speaks against it, as a note of a grade; empty for nothing.
    """

    same: bool | None
    reason: str
    note: str = ""


def hashed(found: Found, progress: Progress) -> Manifest:
    """The manifest of a folder; unchanged files that were hashed before are not read again."""
    return hash_folder(found.folder, cache=default_cache(), progress=progress)


def is_unchanged(version: DatasetVersion, folder: Path, progress: Progress) -> bool:
    """Whether the folder that a version was made from still has the content digest of the version."""
    try:
        return hashed(Found(folder), progress).digest == version.content_digest
    except ContentError:
        return False  # it was removed, or is being written to


def compare(version: DatasetVersion, found: Found, manifest: Manifest) -> Comparison:
    """Whether these are the version's bytes, as far as known: by digest, by size, by where the folder came from."""
    where = one_line(found.folder)
    if version.content_digest is not None:
        if version.content_digest == manifest.digest:
            return Comparison(True, f"{where} has the content digest of the version")
        return Comparison(
            False, f"{where} has the content digest {manifest.digest}", "files here have another digest"
        )
    if found.mount is not None and found.mount.contradicts(version.id, version.tags):
        reason = f"{where} is mounted from {found.mount.pinned}, says {found.mount.said_by}"
        return Comparison(False, reason, "another version is mounted")
    if version.usage_bytes is not None and version.usage_bytes != manifest.total_bytes:
        stated, there = human_bytes(version.usage_bytes), human_bytes(manifest.total_bytes)
        reason = f"{where} holds {there}, and the service says {stated}"
        return Comparison(False, reason, "files here have another size")
    if found.mount is None:
        return Comparison(True, f"{where} was named for this version")
    if found.mount.pinned == version.id:
        return Comparison(True, f"{where} is mounted from this version, says {found.mount.said_by}")
    sized = "" if version.usage_bytes is None else " has the size that the service states, and"
    return Comparison(None, f"{where}{sized} may be another version: nothing says which one it holds")


def identified(version: DatasetVersion, found: Found, manifest: Manifest) -> DatasetVersion:
    """The version with the content digest of bytes that were hashed here; raises CorruptObject when they are others.

    Where nothing vouches for the folder, the version is given back as it is, with a warning.
    """
    comparison = compare(version, found, manifest)
    if comparison.same is False:
        raise contradiction(version, comparison, "No grade rests on them")
    return _identified(version, comparison, manifest)


def identified_or_noted(version: DatasetVersion, found: Found, manifest: Manifest) -> DatasetVersion:
    """As `identified`, but where the bytes differ, the version with a note for its grade that says so."""
    comparison = compare(version, found, manifest)
    if comparison.same is False:
        log.warning("%s: %s; no grade rests on these files", version.ref, comparison.reason)
        return replace(version, grade_notes=(*version.grade_notes, comparison.note))
    return _identified(version, comparison, manifest)


def _identified(version: DatasetVersion, comparison: Comparison, manifest: Manifest) -> DatasetVersion:
    if comparison.same is None:
        log.warning("%s: %s; its bytes prove nothing about this version", version.ref, comparison.reason)
        return version
    return replace(version, content_digest=manifest.digest, digest_is_claimed=False)


def contradiction(version: DatasetVersion, comparison: Comparison, done: str) -> CorruptObject:
    """The error for a folder that is not the version. done: what was done about it."""
    return CorruptObject(
        f"the files are not those of this version: {comparison.reason}",
        reference=version.ref,
        expected=version.content_digest,
        done=done,
        tip="mount this version, or name the one that is mounted",
    )


def check(version: DatasetVersion, found: Found, manifest: Manifest) -> None:
    """Raise CorruptObject for a folder that is another version, and warn where that is only likely or unknown.

    A size that differs is a warning: what the service counts is not documented.
    """
    comparison = compare(version, found, manifest)
    pinned_to_other = found.mount is not None and found.mount.contradicts(version.id, version.tags)
    by_size = version.content_digest is None and not pinned_to_other
    if comparison.same is False and not by_size:
        raise contradiction(version, comparison, "Nothing was served")
    if comparison.same is not True:
        log.warning("%s: %s; it may be ANOTHER VERSION", version.ref, comparison.reason)


# Mounts


_MOUNTED = re.compile(r"(?:[^/:@\s]+/)?([^/:@\s]+)(?::([^/:@\s]+))?\Z")


@dataclass(frozen=True, slots=True)
class Roots:
    """Folders that are searched for mounts; tests use others.

    mounted: folders whose subfolders are mounts. workspaces: folders that may have a `.gradient/settings.yaml`.
    """

    mounted: tuple[Path, ...] = (Path("/datasets"), Path("/inputs"))
    workspaces: tuple[Path, ...] = (Path("/notebooks"),)

    def settings_files(self) -> Iterator[Path]:
        """Possible settings files, those of the working folder and its parents first."""
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
        """Whether it is known to hold another version than this one."""
        return self.pinned is not None and self.pinned != version and self.pinned not in tags


def find(dataset: str, name: str | None, roots: Roots) -> Mount | None:
    """The mount of a dataset, by its id in a settings file, else by a folder called like its id or name.

    Raises SettingsError for a settings file that cannot be read.
    """
    for path in roots.settings_files():
        for integration, reference in _integrations(path).items():
            found = _MOUNTED.match(reference)
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
    document = config_files.yaml_file(path)
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
