"""The files of versions on this machine: fetched once to the cache, and compared before they are given out again.

The copy is hashed when it arrives, and its own manifest is kept beside it; a copy that has changed since is an error.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import atomic_write
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.patterns import EVERYTHING
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.errors import CorruptObject, StoreError
from mlflow_dsver.model.manifests import InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.file_fetching import ReadFile, fetch_folder
from mlflow_dsver.providers.values import LocalCopy
from mlflow_dsver.text import one_line

_FILES, _MANIFEST = "files", "manifest.jsonl.gz"


def folder_of(place: str, version: DatasetVersion, manifest: Manifest, read: ReadFile, progress: Progress) -> Path:
    """A folder with exactly the files of a version; treat it as read-only.

    place: tells the version from those of other servers. Raises CorruptObject when the copy was changed, and what
    fetching raises.
    """
    folder = _folder(place, manifest.digest)
    kept = folder / _MANIFEST
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _FILES).is_dir():
            _fetch(version, manifest, read, folder, progress)
        found = hash_folder(folder / _FILES, rules=EVERYTHING, cache=default_cache(), progress=progress)
        if not kept.is_file():
            _compare_sizes(manifest, found, version, folder)
            with atomic_write(kept) as stream:
                found.write(stream)
    except OSError as error:
        if isinstance(error, StoreError) or error.errno is None:
            raise
        raise StoreError(f"{folder} cannot be written: {error.strerror}", reference=version) from error
    if found.digest != _recorded(kept, version).digest:
        raise _changed(version, folder)
    return folder / _FILES


def copy_of(place: str, digest: str) -> LocalCopy | None:
    """Where the copy of a version is, unchecked; None when there is none. digest: of its manifest."""
    folder = _folder(place, digest)
    if not (folder / _MANIFEST).is_file():
        return None
    return LocalCopy(folder / _FILES, hashed=folder / _MANIFEST)


def _folder(place: str, digest: str) -> Path:
    name = hashlib.sha256(f"{place}\n{digest}".encode()).hexdigest()[:32]
    return settings.home() / "cache" / "files" / name


def _fetch(version: DatasetVersion, manifest: Manifest, read: ReadFile, folder: Path, progress: Progress) -> None:
    (folder / _MANIFEST).unlink(missing_ok=True)
    try:
        fetch_folder(manifest, read, folder / _FILES, progress, version.ref)
    except StoreError:
        if not (folder / _FILES).is_dir():  # else another process has just fetched it
            raise


def _compare_sizes(manifest: Manifest, found: Manifest, version: DatasetVersion, folder: Path) -> None:
    """For a copy whose fetching was cut off before its manifest was kept."""
    if [each[:2] for each in found.entries] != [each[:2] for each in manifest.entries]:
        raise _changed(version, folder)


def _recorded(path: Path, version: DatasetVersion) -> Manifest:
    try:
        with path.open("rb") as stream:
            return read_manifest(stream)
    except (InvalidManifest, OSError) as error:
        raise CorruptObject(
            "the manifest of its copy is damaged", reference=version.ref, tip=f"remove {one_line(path.parent)}"
        ) from error


def _changed(version: DatasetVersion, folder: Path) -> CorruptObject:
    return CorruptObject(
        "the copy of its files on this machine was changed",
        reference=version.ref,
        done="Nothing was served",
        tip=f"remove {one_line(folder)} to fetch it anew",
    )
