"""From what a person writes to a version and its files, by way of the provider; nothing here asks MLflow."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from mlflow_dsver import settings
from mlflow_dsver.errors import CorruptObject, InvalidReference
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.new_versions import NewVersion, parse_new
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider

RefLike = str | DatasetRef | DatasetVersion
"""A reference as text or parsed, or a version that was resolved before."""
InputLike = RefLike | NewVersion
"""What a run's input may be given as; the text of one may ask for a new version too."""

KEPT, KEPT_FILES = 4, 20_000
"""Manifests kept in memory at most, and files that such a one has at most: together some 20 MB."""
_manifests: dict[tuple[str, str | None], Manifest] = {}


def resolve(ref: RefLike) -> DatasetVersion:
    """The version that a reference means now; a version is handed back as it is.

    Raises InvalidReference, UnknownProvider, NotFound and the provider's other errors.
    """
    if isinstance(ref, DatasetVersion):
        return ref
    parsed = parse(ref)
    return get_provider(parsed.provider).resolve(parsed)


def as_written(ref: InputLike) -> str:
    """The reference, or what was asked for in its place, as the person wrote it, without blanks around it."""
    return ref.strip() if isinstance(ref, str) else str(ref)


def input_of(given: InputLike) -> InputLike:
    """The input with its text read, if that asks for a new version. Raises InvalidReference for what is none."""
    if isinstance(given, DatasetVersion | NewVersion):
        return given
    new = parse_new(given) if isinstance(given, str) else None
    if new is None:
        parse(given)
    return new or given


def manifest_of(version: DatasetVersion) -> Manifest | None:
    """The version's manifest; None when its provider does not know its files. Small ones are kept for the next run.

    Raises the provider's errors.
    """
    key = (str(version.ref), version.content_digest)
    kept = _manifests.get(key)
    if kept is not None:
        return kept
    found = get_provider(version.ref.provider).manifest(version)
    if found is not None and found.digest == version.content_digest and len(found) <= KEPT_FILES:
        while len(_manifests) >= KEPT:
            _manifests.pop(next(iter(_manifests)), None)
        _manifests[key] = found
    return found


def path_of(version: DatasetVersion, folder: Path | None = None) -> Path:
    """A folder that holds exactly the version's files, checked; `folder`, new or empty, when one is given."""
    provider = get_provider(version.ref.provider)
    if folder is None:
        found = provider.path(version)
        note(version.ref, found)
        return found
    provider.materialise(version, folder)
    return folder


def files_of(reference: str, content_digest: str | None, folder: Path | None = None) -> Path:
    """The files of a version that was recorded, which must still be what was recorded.

    content_digest: as recorded; None when it was unknown then. Raises CorruptObject when the provider now says
    another one, NotFound when the version is gone.
    """
    ref = parse(reference)
    if ref.selector is None:
        raise InvalidReference("names no version", reference=ref, expected="provider://dataset@version")
    version = get_provider(ref.provider).get(ref.dataset, ref.selector)
    if content_digest and version.content_digest and content_digest != version.content_digest:
        raise CorruptObject(
            "its content is not what was recorded",
            reference=ref,
            expected=content_digest,
            got=version.content_digest,
            done="No files were handed out",
        )
    return path_of(version, folder)


# Which folders this process was given for which versions, so that they are looked at again when the run ends


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
