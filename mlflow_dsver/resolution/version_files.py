"""Resolve references to versions, and get their manifests and files from the provider. No MLflow.

The module also remembers the local copies that this process got, which are checked at the end of a run.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from mlflow_dsver import settings
from mlflow_dsver.errors import CorruptObject, InvalidReference
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.new_versions import NewVersion, parse_new
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider

RefLike = str | DatasetRef | DatasetVersion
"""A reference as text or parsed, or a resolved version."""
InputLike = RefLike | NewVersion
"""An input of a run; as text it may also request a new version."""

MAX_CACHED, MAX_CACHED_FILES = 4, 20_000
"""Maximum number of manifests cached in memory, and of files in each: together some 20 MB."""
MAX_FOLDERS = 1_000
"""Maximum number of local copies that are remembered; the oldest are dropped first."""

_manifests: dict[tuple[str, str | None], Manifest] = {}
_folders: OrderedDict[DatasetRef, tuple[Path, Path]] = OrderedDict()


def resolve(ref: RefLike) -> DatasetVersion:
    """The version that a reference resolves to now; a version is returned unchanged.

    Raises InvalidReference, UnknownProvider, NotFound and the provider's other errors.
    """
    if isinstance(ref, DatasetVersion):
        return ref
    parsed = parse(ref)
    return get_provider(parsed.provider).resolve(parsed)


def as_written(ref: InputLike) -> str:
    """The input as the user wrote it, without surrounding white space.

    A folder relative to the present one, as in `delta://./table`, becomes the canonical reference: the text would
    mean something else in another folder.
    """
    if not isinstance(ref, str):
        return str(ref)
    text = ref.strip()
    if text.partition("://")[2].startswith("."):
        with suppress(InvalidReference):
            return str(parse(text))
    return text


def parse_input(value: InputLike) -> InputLike:
    """The input, with a text that requests a new version parsed. Raises InvalidReference if it is malformed."""
    if isinstance(value, DatasetVersion | NewVersion):
        return value
    new = parse_new(value) if isinstance(value, str) else None
    if new is None:
        parse(value)
    return new or value


def manifest_of(version: DatasetVersion) -> Manifest | None:
    """The version's manifest; None if its provider does not know its files. Small ones are cached for the next run.

    Raises the provider's errors.
    """
    key = (str(version.ref), version.content_digest)
    cached = _manifests.get(key)
    if cached is not None:
        return cached
    found = get_provider(version.ref.provider).manifest(version)
    if found is not None and found.digest == version.content_digest and len(found) <= MAX_CACHED_FILES:
        while len(_manifests) >= MAX_CACHED:
            _manifests.pop(next(iter(_manifests)), None)
        _manifests[key] = found
    return found


def path_of(version: DatasetVersion, folder: Path | None = None) -> Path:
    """A folder with exactly the version's files, verified. folder: a new or empty one; None for a local copy."""
    provider = get_provider(version.ref.provider)
    if folder is None:
        found = provider.path(version)
        remember_folder(version.ref, found)
        return found
    provider.materialise(version, folder)
    return folder


def files_of(reference: str, content_digest: str | None, folder: Path | None = None) -> Path:
    """A folder with the files of a recorded version, as `path_of`.

    content_digest: as recorded; None if it was unknown. Raises CorruptObject if the provider now reports another
    digest, NotFound if the version no longer exists.
    """
    ref = parse(reference)
    if ref.selector is None:
        raise InvalidReference(
            "this reference has no version id", reference=ref, expected="provider://dataset@version"
        )
    version = get_provider(ref.provider).get(ref.dataset, ref.selector)
    if content_digest and version.content_digest and content_digest != version.content_digest:
        raise CorruptObject(
            "the content differs from what was recorded",
            reference=ref,
            expected=content_digest,
            got=version.content_digest,
            done="No files were returned",
        )
    return path_of(version, folder)


def remember_folder(version: DatasetRef, folder: Path) -> None:
    """Remember the local copy that was returned for a version."""
    _folders[version] = (settings.home(), folder)
    _folders.move_to_end(version)
    while len(_folders) > MAX_FOLDERS:
        _folders.popitem(last=False)


def folder_of(version: DatasetRef) -> Path | None:
    """The local copy returned last for a version in the present home of the store; None if there is none."""
    home, folder = _folders.get(version, (None, None))
    return folder if home == settings.home() else None
