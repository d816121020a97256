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

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from mlflow_dsver import settings
from mlflow_dsver.content.patterns import Rules
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import NotFound, Unsupported
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.secrets import Secret
from mlflow_dsver.settings import Setting

__all__ = ["SUGGESTION_LIMIT", "Capability", "Health", "LocalCopy", "Provider", "ProviderInfo", "Setting"]

SUGGESTION_LIMIT = 200
"""How many names or versions are looked through at most to suggest one that is near."""


class Capability(StrEnum):
    """What a provider may be able to do beyond resolving and listing."""

    DATASETS = "datasets"
    """Lists the datasets that it has."""
    CREATE = "create"
    """Makes versions."""
    UPDATE = "update"
    """Changes message, tags and metadata of a version."""
    DELETE = "delete"
    """Deletes versions."""
    TAGS = "tags"
    """Has tags, and a tag names one version of a dataset."""
    BYTES = "bytes"
    """Knows the files of a version, and can put them into a folder."""


@dataclass(frozen=True, slots=True)
class Health:
    """What `mlflow-dsver doctor` says of a provider: `ok`, and one line with the reason or the address reached.

    settings: each setting that the provider reads, and where its value comes from ("environment", a file's path,
    "not set"); never the value of a secret.
    """

    ok: bool
    summary: str
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """Where the bytes of a version lie now, for whoever compares them with a record; nothing of it was checked.

    folder: holds the files under their paths; or, where `by_digest`, each content once, as `ab/<64 hex digits>`.
    unchanged: says of a file's address below `folder` and its stat (that of a link itself, not of what it points to)
    whether nothing can have changed the file since its bytes were hashed; None when that is unknown of all files.
    manifest: the provider's own copy of the manifest; None when it keeps none.
    given: the folder that `path` gave out, where that is another one; None when it did not, or not lately.
    rules: the patterns that the version was made by, as the provider recorded them; None where it did not.
    """

    folder: Path
    by_digest: bool = False
    unchanged: Callable[[str, os.stat_result], bool] | None = None
    manifest: Path | None = None
    given: Path | None = None
    rules: Rules | None = None


class Provider(ABC):
    """Base of all providers. Instances are cheap to make, hold no connection open, and may be used by threads."""

    name: ClassVar[str]
    """The part of a reference before `://`."""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    remote: ClassVar[bool] = True
    """Whether an answer costs a request over a network, so that one may be kept for a short time."""
    settings_prefixes: ClassVar[tuple[str, ...]] = ()
    """How environment variables begin that it reads beside those that begin with its name, such as `AWS_`."""
    settings_files: ClassVar[tuple[Path, ...]] = ()
    """Files that it reads an address, an account or a key from; `~` is the home folder."""
    progress: Progress = SILENT
    """Told of long work (hashing, copying, fetching); whoever wants to see it sets another on the instance."""

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
        """The version that a reference names, whatever its state, for whoever shows, changes or deletes it.

        Unlike `resolve` it neither waits for a version nor refuses one that no run should use. `latest` means what
        it means to `resolve`. Raises NotFound with near names.
        """
        if ref.selector not in (None, LATEST):
            assert ref.selector is not None
            with suppress(NotFound):
                return self.get(ref.dataset, ref.selector)
        return self.resolve(ref)

    def grade(self, version: DatasetVersion) -> Grade:
        """What the provider alone can vouch for; whoever hashes the bytes raises it to A."""
        return Grade("B" if version.immutable else "D")

    def id_allows(self, version: DatasetRef, content_digest: str) -> bool:
        """Whether a version of that id may have that content digest, as far as the id alone tells; asks nobody."""
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
        """Make a version, whole or not at all. Capability CREATE.

        folder: whose bytes it has; None where the provider makes versions of what it holds already.
        reference: record the manifest only and leave the bytes where they are.
        """
        raise self._unsupported("create versions")

    def update(
        self,
        version: DatasetVersion,
        *,
        message: str | None = None,
        add_tags: tuple[str, ...] = (),
        remove_tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> DatasetVersion:
        """Change what can be changed; None leaves a thing as it is; metadata replaces the whole. Capability UPDATE.

        A tag that another version of the dataset has moves to this one.
        """
        raise self._unsupported("update versions")

    def delete(self, version: DatasetVersion) -> None:
        """Delete a version. Raises NotFound when it is gone already. Capability DELETE."""
        raise self._unsupported("delete versions")

    def elsewhere(self, version: DatasetVersion) -> str | None:
        """Why a recorded version that this provider does not find may exist all the same, in words.

        None when what does not exist here is gone. Says nothing of what is here, since anybody may come to read it.
        """
        return None

    def manifest(self, version: DatasetVersion) -> Manifest | None:
        """The version's manifest; None when the provider does not know its files."""
        return None

    def local_copy(self, version: DatasetVersion) -> LocalCopy | None:
        """Where the version's bytes are on this machine, unchecked; None when they would have to be fetched.

        For checks, which must see the files as they are, damaged or not. Capability BYTES.
        """
        return None

    def at_hand(self, version: DatasetVersion) -> LocalCopy | None:
        """Former name of `local_copy`."""
        warnings.warn("at_hand is now local_copy", DeprecationWarning, stacklevel=2)
        if type(self).at_hand is not Provider.at_hand:
            return None  # called by an override, which `local_copy` is made of
        return self.local_copy(version)

    def __init_subclass__(cls, **named: Any) -> None:
        """A provider that still overrides `at_hand` is warned, and keeps working."""
        super().__init_subclass__(**named)
        if "at_hand" in vars(cls) and "local_copy" not in vars(cls):
            warnings.warn(f"{cls.__qualname__}.at_hand: call the method local_copy", DeprecationWarning, stacklevel=2)
            cls.local_copy = cls.at_hand  # type: ignore[method-assign]

    def path(self, version: DatasetVersion) -> Path:
        """A folder that holds exactly the version's files, checked against its manifest; not to be written to.

        Capability BYTES. Raises CorruptObject, and serves nothing, when the bytes are not those of the version.
        """
        raise self._unsupported("say where the bytes are")

    def materialise(self, version: DatasetVersion, folder: Path) -> None:
        """Put the version's files into a new or empty folder, checked, whole or not at all. Capability BYTES.

        Raises InvalidArgument for a folder with something in it. Does not wait until the disk has it all: after a
        power cut it may have to be done again.
        """
        raise self._unsupported("give out files")

    def health(self) -> Health:
        """Whether the provider can be used now; for `doctor`. Never raises, never shows a secret."""
        return Health(True, "ready", {})

    def cache_key(self) -> Mapping[str, object] | None:
        """What its answers depend on beside the reference: address, account, key, options, as JSON values.

        An answer kept on this host is taken only where all of this is the same, so that two servers never share one.
        It is hashed, and never written or shown. None: answers are not kept. By default it is the variables and
        settings of the provider's name and of `settings_prefixes`, the content of `settings_files`, and the plain
        values that the instance holds; override it where answers depend on anything else.
        """
        files = {str(path): settings.user_file(path) for path in self.settings_files}
        plain = str, int, float, Path
        held = {name: str(value) for name, value in vars(self).items() if isinstance(value, plain)}
        secret = {name: value.reveal() for name, value in vars(self).items() if isinstance(value, Secret)}
        return {
            "variables": settings.of_provider(self.name, self.settings_prefixes),
            "files": {path: content and content.hex() for path, content in files.items()},
            "instance": held | secret,
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
