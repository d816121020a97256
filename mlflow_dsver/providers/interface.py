"""The interface of providers.

Two methods are required, `get` and `versions`; `resolve` is built on them and may be overridden where the provider
has a shorter way. Everything else is a capability: declared in `capabilities`, and Unsupported unless the provider
overrides the method. No other module asks for a provider by its name to find out what it can do.

What must be known without importing the provider is in its `ProviderInfo`: settings, spellings of references,
commands and the emulator. The resolution cache asks `cache_key` what answers depend on, `create` takes the options of
a version that a run start makes, and the page of a version is its `web_url`.

All methods raise errors of `mlflow_dsver.errors` only, and end within the provider's stated time.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, ClassVar

from mlflow_dsver import config_files, settings
from mlflow_dsver.content.atomic_files import remove_older, safe_join
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import NotFound, Unsupported
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.providers.values import Capability, FileCheck, Health, KeepList, LocalCopy, TableKind
from mlflow_dsver.secrets import Secret
from mlflow_dsver.settings import Setting

__all__ = [
    "SUGGESTION_LIMIT",
    "Capability",
    "FileCheck",
    "Health",
    "KeepList",
    "LocalCopy",
    "Provider",
    "ProviderInfo",
    "Setting",
    "TableKind",
]

SUGGESTION_LIMIT = 200
"""Maximum names or versions that are searched for a suggestion."""


class Provider(ABC):
    """Base class of all providers. Instances are cheap to create, hold no connection open, and are thread-safe."""

    name: ClassVar[str]
    """The part of a reference before `://`."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    remote: ClassVar[bool] = True
    """Whether resolving costs a network request, so that the resolution is cached for a short time."""
    settings_prefixes: ClassVar[tuple[str, ...]] = ()
    """Prefixes of environment variables that it reads, in addition to those that begin with its name, such as
    `AWS_`.
    """
    settings_files: ClassVar[tuple[Path, ...]] = ()
    """Files that it reads an address, an account or a key from; `~` is the home folder."""
    progress: Progress = SILENT
    """Receives the progress of long operations (hashing, copying, fetching); set it on the instance to display it."""

    @abstractmethod
    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The version of that id. Raises NotFound when the dataset or the version does not exist."""

    @abstractmethod
    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """All versions, newest first, only those with the tag when one is given; pages are fetched as needed.

        Raises NotFound when the dataset does not exist; a dataset without versions gives none.
        """

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """What the reference means now: a version id, else a tag, else `latest`. Raises NotFound with near names.

        A selector that is a version's id and another version's tag means the id.
        """
        if ref.selector in (None, LATEST):
            newest = next(self.versions(ref.dataset), None)
            if newest is None:
                raise self._not_found(ref, "the dataset has no version")
            return newest
        assert ref.selector is not None
        try:
            return self.get(ref.dataset, ref.selector)
        except NotFound:
            tagged = next(self.versions(ref.dataset, tag=ref.selector), None)
        if tagged is not None:
            return tagged
        some = list(islice(self.versions(ref.dataset), SUGGESTION_LIMIT))
        known = sorted({name for version in some for name in (version.id, *version.tags)})
        near = nearest(ref.selector, known)
        raise self._not_found(
            ref,
            "no version of that id and no such tag",
            tip=", ".join(str(ref.at(name)) for name in near) if near else None,
        )

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The version that a reference names, in any state, for commands that show, change or delete it.

        Unlike `resolve` it neither waits for a version nor refuses one that runs should not use. `latest` means the
        same as in `resolve`. Raises NotFound with near names.
        """
        if ref.selector not in (None, LATEST):
            assert ref.selector is not None
            with suppress(NotFound):
                return self.get(ref.dataset, ref.selector)
        return self.resolve(ref)

    def grade(self, version: DatasetVersion) -> Grade:
        """The grade that the provider alone guarantees; it is raised to A when the bytes are hashed."""
        return Grade("B" if version.immutable else "D")

    def id_allows(self, version: DatasetRef, content_digest: str) -> bool:
        """Whether a version of that id may have that content digest, judging by the id only; makes no request."""
        return True

    def datasets(self) -> Iterator[str]:
        """Names or ids of all datasets, sorted. Capability DATASETS."""
        raise self._unsupported("list datasets")

    def create(
        self,
        dataset: str,
        folder: Path | None = None,
        *,
        message: str | None = None,
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: bool = False,
    ) -> DatasetVersion:
        """Create a version, completely or not at all. Capability CREATE.

        folder: its files; None where the provider creates versions of data that it holds already. reference: record
        the manifest only and leave the bytes where they are.
        """
        raise self._unsupported("create versions")

    def create_from(
        self,
        dataset: str,
        source: Provider,
        version: DatasetVersion,
        *,
        message: str | None = None,
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: bool = False,
    ) -> DatasetVersion:
        """Create a version with the files of another provider's version. Capability CREATE.

        The files are fetched to a temporary folder and created from there; the metadata gets the key `source` with
        the reference. reference: leave the bytes where they are; Unsupported unless the provider overrides this.
        """
        if reference:
            raise self._unsupported(f"refer to files at {source.name}")
        scratch = settings.home() / "cache"
        scratch.mkdir(parents=True, exist_ok=True)
        remove_older(scratch, "copy-*", days=7)  # what a kill has left
        with TemporaryDirectory(prefix="copy-", dir=scratch) as folder:
            source.progress = self.progress
            source.materialise(version, Path(folder) / "files")
            words = {"source": str(version.ref), **(metadata or {})}
            return self.create(dataset, Path(folder) / "files", message=message, tags=tags, metadata=words)

    def update(
        self,
        version: DatasetVersion,
        *,
        message: str | None = None,
        add_tags: tuple[str, ...] = (),
        remove_tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> DatasetVersion:
        """Change the given values; None leaves a value unchanged; metadata replaces the whole. Capability UPDATE.

        A tag that another version of the dataset has moves to this one.
        """
        raise self._unsupported("update versions")

    def delete(self, version: DatasetVersion) -> None:
        """Delete a version. Capability DELETE.

        Raises NotFound when it does not exist, VersionHeld when it is held.
        """
        raise self._unsupported("delete versions")

    def hold(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Keep a version for these reasons; those that it is kept for already change nothing. Capability HOLD."""
        raise self._unsupported("keep a version for a reason")

    def release(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Take back these reasons; those that there are not change nothing. Capability HOLD.

        With the last reason the version may be deleted again.
        """
        raise self._unsupported("release a version")

    def holds(self, version: DatasetVersion) -> tuple[Hold, ...]:
        """The reasons for which a version is kept now, sorted; () for none, and where there are no holds."""
        return ()

    def held(self) -> Iterator[tuple[DatasetVersion, tuple[Hold, ...]]]:
        """All versions that are kept for a reason, of all datasets that the provider lists."""
        if not {Capability.HOLD, Capability.DATASETS} <= self.capabilities:
            return
        for dataset in self.datasets():
            for version in self.versions(dataset):
                if reasons := self.holds(version):
                    yield version, reasons

    def keep_list(self, dataset: str, versions: Sequence[str]) -> KeepList | None:
        """What keeps these versions, by id, when the store's own cleaner runs; None for nothing that it takes.

        For stores without holds, such as `keep_versions` of a Delta table's vacuum; `holds` prints it.
        """
        return None

    def elsewhere(self, version: DatasetVersion) -> str | None:
        """Why a recorded version that this provider does not find may still exist elsewhere, as text.

        None when a version that is not found here was deleted. Must not describe what is here, since anybody may read
        it.
        """
        return None

    def manifest(self, version: DatasetVersion) -> Manifest | None:
        """The version's manifest; None when the provider does not know its files."""
        return None

    def local_copy(self, version: DatasetVersion) -> LocalCopy | None:
        """The location of the version's bytes on this machine, unchecked; None when they would have to be fetched.

        For checks, which must see the files as they are, damaged or not. Capability BYTES.
        """
        return None

    def at_hand(self, version: DatasetVersion) -> LocalCopy | None:
        """Former name of `local_copy`."""
        warnings.warn("at_hand is now local_copy", DeprecationWarning, stacklevel=2)
        if type(self).at_hand is not Provider.at_hand:
            return None  # called through `super()` by an override that `local_copy` calls
        return self.local_copy(version)

    def __init_subclass__(cls, **named: Any) -> None:
        """Warn about a provider that still overrides `at_hand`, and keep it working."""
        super().__init_subclass__(**named)
        if "at_hand" in vars(cls) and "local_copy" not in vars(cls):
            warnings.warn(f"{cls.__qualname__}.at_hand: call the method local_copy", DeprecationWarning, stacklevel=2)
            cls.local_copy = cls.at_hand  # type: ignore[method-assign]

    def path(self, version: DatasetVersion) -> Path:
        """A folder that holds exactly the version's files, checked against its manifest; treat it as read-only.

        Capability BYTES. Raises CorruptObject, and returns no folder, when the bytes are not those of the version.
        """
        raise self._unsupported("say where the bytes are")

    def materialise(self, version: DatasetVersion, folder: Path) -> None:
        """Copy the version's files into a new or empty folder, checked, completely or not at all. Capability BYTES.

        Raises InvalidArgument for a folder that is not empty. Does not flush to disk: after a power cut it may have
        to be repeated.
        """
        raise self._unsupported("give out files")

    def open(self, version: DatasetVersion, path: str) -> BinaryIO:
        """One file of the version, open for reading at exactly this version; seekable. Capability BYTES.

        path: as in the manifest. Raises NotFound when the version has no such file. By default it is read from
        `path()`; a provider that can stream overrides this.
        """
        try:
            return safe_join(self.path(version), path).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, InvalidManifest) as error:
            raise NotFound(
                f"this version has no file {path[:200]!r}", provider=self.name, operation="open", reference=version
            ) from error

    def table(self, version: DatasetVersion, kind: TableKind) -> Any:
        """The table at exactly this version. Capability TABLE.

        Raises SettingsError when the library of that kind is not installed, NotFound when the version is gone.
        """
        raise self._unsupported("load tables")

    def revision(self, version: DatasetVersion) -> str:
        """What the store's own tools call this version, such as the commit for `revision=`; by default its id."""
        return version.id

    def has_store_evidence(self, version: DatasetVersion) -> bool:
        """Whether `check_files` compares this version's files, so that its manifest is worth reading. Cheap."""
        return False

    def check_files(
        self, version: DatasetVersion, entries: Sequence[FileEntry], manifest: Manifest, *, read: bool
    ) -> FileCheck | None:
        """Compare files of a version with what their store has now; None where `has_store_evidence` is false.

        For versions whose files are objects of a store, which describes them without sending their bytes. entries:
        the files to compare, of `manifest`, which is the recorded one. read: also read every byte and compare its
        checksums. Raises the provider's errors when the store as a whole does not answer.
        """
        return None

    def from_manifest(self, version: DatasetVersion, manifest: Manifest) -> DatasetVersion | None:
        """The recorded version, proven by its manifest alone; None for a provider whose versions are not.

        For versions whose id is derived from the content digest: with the manifest that the run kept they can be
        checked where the provider's own list of versions is not at hand.
        """
        return None

    def health(self) -> Health:
        """Whether the provider can be used now; for `doctor`. Never raises, never shows a secret."""
        return Health(True, "ready", {})

    def cache_key(self) -> Mapping[str, object] | None:
        """Everything beside the reference that resolutions depend on: address, account, key, options, as JSON values.

        A cached resolution is used only where all of this is equal, so that two servers never share one. It is
        hashed, and never written or shown. None: resolutions are not cached. By default it is the variables and
        settings of the provider's name and of `settings_prefixes`, the content of `settings_files`, and the plain
        values of the instance's attributes; override it where resolutions depend on anything else.
        """
        files = {str(path): config_files.user_file(path) for path in self.settings_files}
        plain = str, int, float, Path
        settings_text = {name: str(value) for name, value in vars(self).items() if isinstance(value, plain)}
        secret = {name: value.reveal() for name, value in vars(self).items() if isinstance(value, Secret)}
        return {
            "variables": settings.of_provider(self.name, self.settings_prefixes),
            "files": {path: content and content.hex() for path, content in files.items()},
            "instance": settings_text | secret,
        }

    def _unsupported(self, what: str) -> Unsupported:
        able = ", ".join(sorted(self.capabilities)) or "resolve and list"
        return Unsupported(
            f"cannot {what}", provider=self.name, operation=what, expected=f"one of what it can: {able}"
        )

    def _not_found(self, ref: DatasetRef, what: str, tip: str | None = None) -> NotFound:
        return NotFound(what, provider=self.name, operation="resolve", reference=ref, tip=tip)


def __getattr__(name: str) -> Any:
    """Former names."""
    if name == "Place":
        warnings.warn("interface.Place is now interface.LocalCopy", DeprecationWarning, stacklevel=2)
        return LocalCopy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
