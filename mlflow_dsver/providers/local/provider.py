"""The local provider: implements the provider interface on the store.

A version's id is a prefix of its content digest, so identical bytes have the same canonical reference on every
machine. Creating content that the dataset already has returns the existing version, with tags added and message or
metadata replaced where given, and makes it `latest`. Versions whose bytes are kept have grade A; those that only
refer to a folder are identified by sizes and dates of its files (grade C).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from mlflow_dsver import settings
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.errors import ContentError, CorruptObject, DsverError, InvalidArgument
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.dataset_history import (
    Record,
    State,
    creation,
    id_of,
    version_of,
)
from mlflow_dsver.providers.history_provider import Decide, HistoryProvider
from mlflow_dsver.providers.interface import Capability, FileCheck, Health, LocalCopy, Provider
from mlflow_dsver.providers.local.log import (
    append,
    keep_manifest,
    manifest_of,
    parse,
    read_log,
    read_state,
    recorded_rules,
    rules_of,
)
from mlflow_dsver.providers.local.objects import Ingest
from mlflow_dsver.providers.local.remote_sources import is_remote, proven_source, stated_source
from mlflow_dsver.providers.local.shared_views import checked_out_view, view_of
from mlflow_dsver.providers.local.store import Store, hex_of, meanings
from mlflow_dsver.providers.local.verified_stats import VerifiedObjects
from mlflow_dsver.providers.local.views import folder_of, materialise_at
from mlflow_dsver.providers.operation_schema import text_fields, utf8
from mlflow_dsver.text import os_text, text_of


class LocalProvider(HistoryProvider):
    """Versions in a folder of this machine.

    store: the store's folder; None for the user's default store, or `MLFLOW_DSVER_HOME` where set. progress: receives
    the progress of long operations.
    """

    name = "local"
    capabilities = frozenset(Capability) - {Capability.TABLE}
    remote = False

    def __init__(self, store: Path | None = None, *, progress: Progress = SILENT) -> None:
        self.store = Store.default() if store is None else Store(store.absolute())
        self.progress = progress

    def cache_key(self) -> Mapping[str, object]:
        """Empty: the cache keeps stores apart already, and `settings_prefixes` would match unrelated variables
        (LOCAL_RANK).
        """
        return {}

    def grade(self, version: DatasetVersion) -> Grade:
        """A for kept bytes, which were hashed when they were added; C for a folder that the version refers to.

        For a version whose bytes lie at another provider, the grade there.
        """
        grade = version.raw.get("grade")
        if version.raw.get("kept") is not True and isinstance(grade, str):
            with suppress(ValueError):
                return Grade.parse(grade)
        return Grade("A" if version.raw.get("kept") is True else "C")

    def id_allows(self, version: DatasetRef, content_digest: str) -> bool:
        """Whether the id is a prefix of the content digest."""
        return hex_of(content_digest).startswith(version.selector or "")

    def datasets(self) -> Iterator[str]:
        """Names of all datasets, sorted, including those whose versions were all deleted."""
        return iter(sorted(self._names()))

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
        """Create a version of a folder; it is on disk, and survives a power cut, when this returns."""
        DatasetRef(self.name, dataset)
        labels = text_fields(message, tags, metadata)
        if folder is None:
            raise InvalidArgument("a local version is made of a folder", expected="a folder", got="none")
        folder = Path(folder).absolute()
        source = {"source": utf8(text_of(str(folder))).decode()} if reference else {}
        self._check_apart(folder)
        with self.store.writing(), self.store.scratch() as scratch:
            arrival = Ingest(self.store, scratch)
            manifest = hash_folder(
                folder, cache=default_cache(), progress=self.progress, on_file=None if reference else arrival.take
            )
            known = self._known(dataset, manifest, reference)
            if not reference:
                arrival.complete(folder, manifest)
                arrival.publish()
            facts = {
                "digest": manifest.digest,
                "files": len(manifest),
                "bytes": manifest.total_bytes,
                "manifest": keep_manifest(self.store, manifest, known.manifest if known else None),
                "kept": not reference,
                **source,
            }
            if reference:
                facts["rules"] = rules_of(manifest).made()
            state = append(self.store, dataset, lambda state: creation(state, facts, labels))
        return version_of(self.name, state, state.versions[id_of(state, manifest.digest)], self.store.id())

    def create_from(
        self, dataset: str, source: Provider, version: DatasetVersion, *, reference: bool = False, **words: Any
    ) -> DatasetVersion:
        """Create a version of another provider's version. reference: keep its manifest and the reference alone."""
        if not reference:
            return super().create_from(dataset, source, version, **words)
        manifest = source.manifest(version)
        if manifest is None or version.content_digest not in (None, manifest.digest):
            raise InvalidArgument(
                "its provider does not know the files", reference=version, tip="without --reference"
            )
        labels = text_fields(words.get("message"), words.get("tags") or (), words.get("metadata"))
        with self.store.writing():
            known = self._known(dataset, manifest, reference=True)
            facts = {
                "digest": manifest.digest,
                "files": len(manifest),
                "bytes": manifest.total_bytes,
                "manifest": keep_manifest(self.store, manifest, known.manifest if known else None),
                "kept": False,
                "source": str(version.ref),
                "grade": str(source.grade(version)),
            }
            state = append(self.store, dataset, lambda state: creation(state, facts, labels))
        return version_of(self.name, state, state.versions[id_of(state, manifest.digest)], self.store.id())

    def elsewhere(self, version: DatasetVersion) -> str | None:
        """Why the version may be in another store, as text; None when it would have to be in this one.

        It would where the record names this store, or names none and this store has a log of the dataset.
        """
        here = self.store.id()
        advice = "set MLFLOW_DSVER_HOME to the folder that has it, or check on the machine that does"
        if version.store is not None and version.store != here:
            return f"the store of this machine is {'another one' if here else 'none, or has no id'}; {advice}"
        if version.store is None and read_state(self.store, version.ref.dataset) is None:
            return f"the store of this machine never had this dataset, and the record names no store; {advice}"
        return None

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The version's manifest. Raises CorruptObject when it is damaged or missing."""
        return manifest_of(self.store, self._record(version).digest, str(version))

    def local_copy(self, version: DatasetVersion) -> LocalCopy | None:
        """The store's objects for kept bytes, else the folder that the version refers to; unchecked.

        For a version whose bytes lie at another provider, the copy that this has fetched; None for none.
        """
        record = self._record(version)
        if is_remote(record):
            provider, there = stated_source(record)
            return provider.local_copy(there)
        manifest = self.store.manifest(record.digest)
        if record.kept:
            given = checked_out_view(self.store, record.digest)
            unchanged = VerifiedObjects(self.store).unchanged
            return LocalCopy(self.store.root / "objects", True, unchanged, manifest, given)
        return LocalCopy(
            Path(os_text(record.source or "")), manifest=manifest, rules=recorded_rules(self.store, record)
        )

    def path(self, version: DatasetVersion) -> Path:
        """A read-only folder with the version's files; for a version that refers to a folder, that folder.

        Where that folder has additional files, a folder of symbolic links to the version's files.
        """
        record = self._record(version)
        if is_remote(record):
            provider, there = self._remote(record, version)
            return provider.path(there)
        manifest = manifest_of(self.store, record.digest, str(version))
        if record.kept:
            return view_of(self.store, manifest, self.progress)
        rules = recorded_rules(self.store, record) or rules_of(manifest)
        source = Path(os_text(record.source or ""))
        return folder_of(self.store, source, manifest, rules, str(version), self.progress)

    def materialise(self, version: DatasetVersion, folder: Path) -> None:
        """Copy the version's files into a new or empty folder, checking each during the copy."""
        record = self._record(version)
        if is_remote(record):
            provider, there = self._remote(record, version)
            provider.materialise(there, folder)
            return
        manifest = manifest_of(self.store, record.digest, str(version))
        source = None if record.kept else Path(os_text(record.source or ""))
        materialise_at(self.store, manifest, source, Path(folder), self.progress)

    def open(self, version: DatasetVersion, path: str) -> BinaryIO:
        """One file; streamed from the other provider where the bytes lie there."""
        record = self._record(version)
        if not is_remote(record):
            return super().open(version, path)
        provider, there = self._remote(record, version)
        return provider.open(there, path)

    def has_store_evidence(self, version: DatasetVersion) -> bool:
        """For a version whose bytes lie at another provider, whether that has."""
        record = self._record(version)
        if not is_remote(record):
            return False
        provider, there = stated_source(record)
        return provider.has_store_evidence(there)

    def check_files(
        self, version: DatasetVersion, entries: Sequence[FileEntry], manifest: Manifest, *, read: bool
    ) -> FileCheck | None:
        """For a version whose bytes lie at another provider, what that finds; None for any other."""
        record = self._record(version)
        if not is_remote(record):
            return None
        provider, there = proven_source(record, lambda: manifest)
        provider.progress = self.progress
        return provider.check_files(there, entries, manifest, read=read)

    def _remote(self, record: Record, version: DatasetVersion) -> tuple[Provider, DatasetVersion]:
        provider, there = proven_source(record, lambda: manifest_of(self.store, record.digest, str(version)))
        provider.progress = self.progress
        return provider, there

    def health(self) -> Health:
        """Where the store is, and whether it is readable."""
        try:
            where = "not set" if settings.setting("HOME") is None else "environment"
            if where == "environment" and settings.text(settings.PREFIX + "HOME") is None:
                where = str(settings.config_path())
            known = {settings.PREFIX + "HOME": where}
            if not self.store.exists():
                return Health(True, f"{self.store.root} (no version yet)", known)
            return Health(True, f"{self.store.root} ({len(self._names())} datasets)", known)
        except (DsverError, OSError) as error:
            return Health(False, str(error), {})

    def _names(self, *, damaged: bool = False) -> list[str]:
        """Names of all datasets; damaged: skip datasets whose log is damaged, instead of raising CorruptObject."""
        if not self.store.exists():
            return []
        names = []
        with meanings(f"the store {self.store.root} cannot be read"):
            for log in (self.store.root / "datasets").glob("*/log"):
                try:
                    state = parse(read_log(log), None)
                except CorruptObject as error:
                    if damaged:
                        continue
                    raise CorruptObject(f"{log}: {error.what}", done=error.done, tip=error.tip) from error
                if state is not None:
                    names.append(state.dataset)
        return names

    def _state(self, dataset: str) -> State:
        DatasetRef(self.name, dataset)
        state = read_state(self.store, dataset)
        if state is None:
            raise self._no_dataset(dataset, self._names(damaged=True))
        return state

    def _record(self, version: DatasetVersion) -> Record:
        if version.ref.provider != self.name:
            raise InvalidArgument("not a version of the local provider", reference=version)
        return super()._record(version)

    def _append(self, dataset: str, decide: Decide) -> State:
        with self.store.writing():
            return append(self.store, dataset, decide)

    def _version(self, state: State, record: Record) -> DatasetVersion:
        return version_of(self.name, state, record, self.store.id())

    def _known(self, dataset: str, manifest: Manifest, reference: bool) -> Record | None:
        """The dataset's existing version of this content, if its bytes are kept or `reference` is set."""
        state = read_state(self.store, dataset)
        record = state.versions.get(id_of(state, manifest.digest)) if state else None
        return record if record and (record.kept or reference) else None

    def _check_apart(self, folder: Path) -> None:
        source, root = folder.resolve(), self.store.root.resolve()
        if source == root or source in root.parents or root in source.parents:
            relation = "holds" if source in root.parents else "is inside"
            raise ContentError(
                f"the folder {folder} {relation} the store ({self.store.root})",
                expected="a folder apart from the store",
                done="Nothing was added",
                tip="another folder, or another MLFLOW_DSVER_HOME",
            )
