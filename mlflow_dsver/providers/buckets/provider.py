"""The providers of object storage: snapshots of a prefix as versions.

A snapshot's id is the beginning of its manifest's digest, so the same objects have the same reference wherever it was
taken. Its grade is B when the store has a version id of each object and keeps versions, else C: an object can then be
replaced. No object is ever written, changed or deleted, except what the setting SNAPSHOTS asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.content.patterns import Rules
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import DsverError, InvalidArgument, SettingsError
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers import dataset_history as history
from mlflow_dsver.providers.buckets import catalog, check, legal_holds, snapshots
from mlflow_dsver.providers.buckets.connect import INSTALL, PREFIXES, Location, check_settings, location
from mlflow_dsver.providers.buckets.info import CHECKSUMS, SNAPSHOTS
from mlflow_dsver.providers.buckets.listing import list_objects
from mlflow_dsver.providers.buckets.reading import reader_of
from mlflow_dsver.providers.file_checks import CheckFile, StoreChecksums
from mlflow_dsver.providers.file_provider import FileProvider, ReadFile
from mlflow_dsver.providers.history_provider import Decide, HistoryProvider
from mlflow_dsver.providers.interface import Capability, Health
from mlflow_dsver.providers.operation_schema import text_fields

__all__ = ["AzProvider", "GsProvider", "S3Provider"]


class BucketProvider(HistoryProvider, FileProvider):
    """A prefix of a bucket is a dataset. progress: receives the progress of long operations."""

    capabilities = frozenset(Capability) - {Capability.HOLD, Capability.TABLE}
    deleted_text = "this snapshot was deleted"
    unknown_text = "no snapshot of that id and no such tag"
    no_dataset_text = "no snapshot of it is known"
    create_hint = ""

    def __init__(self, *, progress: Progress = SILENT) -> None:
        self.progress = progress
        self._proven: Manifest | None = None

    def grade(self, version: DatasetVersion) -> Grade:
        """B when the store keeps every object version of the snapshot, else C; the notes say what it rests on."""
        with suppress(ValueError):
            return Grade.parse(str(version.raw.get("grade")))
        return Grade("C")

    def id_allows(self, version: DatasetRef, content_digest: str) -> bool:
        """Whether the id is the beginning of the content digest."""
        return content_digest.removeprefix("blake3:").startswith(version.selector or "")

    def datasets(self) -> Iterator[str]:
        """Prefixes that have ever had a snapshot; none are known where snapshots are kept beside the data."""
        return catalog.datasets(self.name)

    def create(
        self,
        dataset: str,
        folder: Path | None = None,
        *,
        message: str | None = None,
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: bool = False,
        include: str | None = None,
        exclude: str | None = None,
        checksums: str | None = None,
        inventory: str | None = None,
    ) -> DatasetVersion:
        """Take a snapshot: which objects are below the prefix now, and what the store says of each.

        No data is read, so `reference` changes nothing. include, exclude: patterns as in a `.gitignore`, with commas
        between them. checksums: auto, yes or no; None for the setting. inventory: the manifest.json of an S3
        Inventory report, a path or an address, to list from instead of from the bucket.
        """
        DatasetRef(self.name, dataset)
        labels = text_fields(message, tags, metadata)
        if folder is not None:
            raise InvalidArgument(
                "a snapshot is taken of what is in the bucket",
                reference=DatasetRef(self.name, dataset),
                got=f"a folder, {folder}",
                tip="local://… for files of a folder, or copy them to the bucket first",
            )
        place = location(self.name, dataset)
        rules = Rules(snapshots.patterns(include), snapshots.patterns(exclude))
        asked = CHECKSUMS.get() if checksums is None else _choice(checksums)
        if inventory is not None:
            from mlflow_dsver.providers.buckets.inventory import read_inventory

            listing = read_inventory(place, inventory)
        else:
            listing = list_objects(place, checksums=asked, progress=self.progress)
        manifest = snapshots.manifest_of(place, listing, rules)
        kept = catalog.catalog(place)
        content = kept.keep(manifest)
        facts = {
            "digest": manifest.digest,
            "files": len(manifest),
            "bytes": manifest.total_bytes,
            "manifest": _sum(content),
            "kept": False,
            "source": place.uri,
            "grade": str(snapshots.grade_of(place, manifest, listing.keeps_versions)),
        }
        state = kept.append(lambda state: history.creation(state, facts, labels))
        return self._version(state, state.versions[history.id_of(state, manifest.digest)])

    def elsewhere(self, version: DatasetVersion) -> str | None:
        """Why a snapshot that is not known here may be known elsewhere: snapshots are kept where a setting says."""
        return (
            "the snapshots that are kept here have none of this id; set "
            f"{SNAPSHOTS.variable} to where it is kept, or check with the manifest that the run has (not at depth "
            "metadata)"
        )

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The snapshot's manifest. Raises CorruptObject when it is damaged or missing."""
        if self._proven is not None and self._proven.digest == version.content_digest:
            return self._proven
        record = self._record(version)
        return catalog.catalog(location(self.name, version.ref.dataset)).manifest(record.digest)

    def from_manifest(self, version: DatasetVersion, manifest: Manifest) -> DatasetVersion | None:
        """The snapshot as its manifest proves it: the id is the beginning of the digest."""
        if not self.id_allows(version.ref, manifest.digest) or version.content_digest != manifest.digest:
            return None
        self._proven = manifest
        place = location(self.name, version.ref.dataset)
        keeps = manifest.made.get("keeps_versions")
        grade = snapshots.grade_of(place, manifest, keeps if isinstance(keeps, bool) else None)
        raw = {**version.raw, "grade": str(grade), "digest": manifest.digest}
        return replace(version, raw=raw, immutable=grade.meets("B"), usage_bytes=manifest.total_bytes)

    def place(self, version: DatasetVersion) -> str:
        """The address of the prefix."""
        return location(self.name, version.ref.dataset).uri

    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """Reads exactly the recorded object versions."""
        return reader_of(location(self.name, version.ref.dataset), manifest)

    def checker(self, version: DatasetVersion, manifest: Manifest) -> CheckFile:
        """One HEAD of each object version."""
        place = location(self.name, version.ref.dataset)
        return check.checker_of(place, manifest, self._read_checksums(place))

    def store_checksums(self, version: DatasetVersion, manifest: Manifest) -> StoreChecksums | None:
        """Those that S3 has of an object version."""
        place = location(self.name, version.ref.dataset)
        read = self._read_checksums(place)
        if read is None:
            return None
        return lambda entry: read(
            snapshots.key_of(place, manifest, entry.path), entry.evidence.version if entry.evidence else None
        )

    def health(self) -> Health:
        """Where snapshots are kept, and which settings were found; no bucket is asked."""
        known = {SNAPSHOTS.variable: settings.origin(SNAPSHOTS.name)}
        variables = settings.of_provider(self.name, PREFIXES[self.name])
        known |= {name: "environment" for name in sorted(variables) if name.startswith(PREFIXES[self.name])}
        try:
            check_settings(self.name)
            where = SNAPSHOTS.get() or str(settings.home() / "snapshots")
            return Health(True, f"snapshots are kept in {where}", known)
        except SettingsError as error:
            if error.tip == INSTALL:
                return Health.not_installed("obstore", error)
            return Health(False, str(error), known)
        except (DsverError, OSError) as error:
            return Health(False, str(error), known)

    def _read_checksums(self, place: Location) -> check.ReadChecksums | None:
        return None

    def _state(self, dataset: str) -> history.State:
        state = catalog.catalog(location(self.name, dataset)).state()
        if state is None:
            raise self._no_dataset(dataset, list(self.datasets()))
        return state

    def _append(self, dataset: str, decide: Decide) -> history.State:
        return catalog.catalog(location(self.name, dataset)).append(decide)

    def _version(self, state: history.State, record: history.Record) -> DatasetVersion:
        version = history.version_of(self.name, state, record)
        return replace(version, immutable=self.grade(version).meets("B"))


class S3Provider(BucketProvider):
    """Prefixes in Amazon S3, and in services with its API."""

    name = "s3"
    capabilities = frozenset(Capability) - {Capability.TABLE}
    settings_prefixes = (*PREFIXES["s3"], SNAPSHOTS.variable)

    def hold(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Set the legal hold of each object version, then keep the reasons. The bucket needs Object Lock."""
        self._record(version)
        foreign: list[str] = []
        if not self.holds(version):  # else they were set before the first reason was kept
            place, manifest = location(self.name, version.ref.dataset), self.manifest(version)
            foreign = legal_holds.put(place, manifest, self._held_objects(place, version), self.progress)
        self._changed(
            version, lambda state: history.hold_operation(state, version.id, reasons, foreign=foreign or None)
        )

    def release(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Take back these reasons; with the last one, the legal holds that we set and nobody else needs."""
        place, manifest = location(self.name, version.ref.dataset), self.manifest(version)
        before = self._state(version.ref.dataset)
        foreign = before.foreign.get(version.id, set())
        super().release(version, reasons)
        if before.holds.get(version.id) and not self.holds(version):
            legal_holds.remove(place, manifest, self._held_objects(place, version), foreign, self.progress)

    def _held_objects(self, place: Location, without: DatasetVersion) -> frozenset[legal_holds.ObjectVersion]:
        """The object versions that other held snapshots need, of prefixes that may have objects in common with it."""
        found: set[legal_holds.ObjectVersion] = set()
        for dataset in catalog.datasets_around(place):
            other = location(self.name, dataset)
            kept = catalog.catalog(other)
            state = kept.state() or history.State(dataset)
            for version_id in state.holds:
                if (dataset, version_id) != (without.ref.dataset, without.id):
                    manifest = kept.manifest(state.versions[version_id].digest)
                    found |= legal_holds.objects_of(other, manifest)
        return frozenset(found)

    def _read_checksums(self, place: Location) -> check.ReadChecksums:
        from mlflow_dsver.providers.buckets import s3_listing, s3_requests

        return lambda key, version: s3_listing.read_checksums(s3_requests.requests_of(place), key, version)


class GsProvider(BucketProvider):
    """Prefixes in Google Cloud Storage."""

    name = "gs"
    settings_prefixes = (*PREFIXES["gs"], SNAPSHOTS.variable)


class AzProvider(BucketProvider):
    """Prefixes in Azure Blob Storage, in the account of AZURE_STORAGE_ACCOUNT_NAME."""

    name = "az"
    settings_prefixes = (*PREFIXES["az"], SNAPSHOTS.variable)


def _choice(text: str) -> bool | None:
    try:
        return CHECKSUMS.convert(text)
    except KeyError as error:
        raise InvalidArgument("checksums", expected=CHECKSUMS.expected, got=text[:40]) from error


def _sum(content: bytes) -> str:
    from blake3 import blake3

    return str(blake3(content).hexdigest()[:32])
