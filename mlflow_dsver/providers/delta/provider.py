"""The provider of Delta tables.

Nothing is ever written. The grade is C, whatever the store: a log and the files it names are never changed by
convention alone, and the log has no checksums of files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from mlflow_dsver import settings
from mlflow_dsver.errors import CorruptObject, NotFound, SettingsError
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.buckets.connect import PREFIXES
from mlflow_dsver.providers.date_selectors import is_date, moment_of
from mlflow_dsver.providers.delta import check, snapshot, tables
from mlflow_dsver.providers.delta.info import NAME
from mlflow_dsver.providers.delta.log import Commit, Log, read_log
from mlflow_dsver.providers.delta.places import Place, place_of
from mlflow_dsver.providers.delta.snapshot import Snapshot, load, load_exactly, number_of, version_id
from mlflow_dsver.providers.file_checks import CheckFile
from mlflow_dsver.providers.file_provider import FileProvider, ReadFile
from mlflow_dsver.providers.interface import Capability, Health
from mlflow_dsver.providers.values import KeepList, TableKind

GRADE = Grade("C", ("files by size and date of the Delta log", "log and files are not protected"))
MAX_METADATA = 16_384
"""Characters of a commit's own words above which only the user's are shown."""
_NUMBER = re.compile(r"[vV]?(\d{1,18})\Z")
_TAKEN = frozenset({"timestamp", "inCommitTimestamp", "operation", "version"})


class DeltaProvider(FileProvider):
    """A Delta table is a dataset."""

    name = NAME
    capabilities = frozenset({Capability.BYTES, Capability.EVIDENCE, Capability.TABLE})
    settings_prefixes: ClassVar[tuple[str, ...]] = tuple(each for many in PREFIXES.values() for each in many)

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The version of an id, proven by the table's id."""
        return _described(load_exactly(place_of(dataset), version))

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """All versions that can still be loaded, newest first; only the log is read, so they have no digest yet."""
        place = place_of(dataset)
        log = read_log(place)
        if tag is not None:
            return
        table_id: str | None = None
        for number in range(log.newest, log.oldest - 1, -1):
            commit = log.commit(number)
            table_id = table_id or load(place, number, log).table_id
            yield _listed(place, number, table_id, commit)
            if commit is None or commit.has_metadata:
                table_id = None  # the version before may be of another table

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """A number (12 or v12), an id, a date or time (the newest version committed not later), or `latest`.

        Its files are looked at: a version of which a vacuum removed some is named, with a note in its grade.
        """
        version = self._named(ref)
        looked = check.look(place_of(ref.dataset), self.manifest(version))
        if looked is None:
            notes = ["its files were not looked at"]
        else:
            words = zip(("are gone", "have another size"), looked, strict=True)
            notes = [f"{len(paths)} of its files {what}" for what, paths in words if paths]
        return replace(version, grade_notes=tuple(notes))

    def _named(self, ref: DatasetRef) -> DatasetVersion:
        place = place_of(ref.dataset)
        if ref.selector in (None, LATEST):
            return _described(load(place))
        selector = ref.selector or ""
        number = _NUMBER.match(selector)
        if number:
            return _described(load(place, int(number[1])))
        if number_of(selector) is not None:
            return self.get(ref.dataset, selector)
        log = read_log(place)
        if is_date(selector):
            return _described(load(place, _at(log, moment_of(ref), ref), log))
        raise self._not_found(ref, "no version of that id, number or date", tip=str(ref.at(str(log.newest))))

    def grade(self, version: DatasetVersion) -> Grade:
        """C: sizes and dates are compared, and nothing keeps log and files from being written again."""
        return GRADE.with_notes(*version.grade_notes)

    def revision(self, version: DatasetVersion) -> str:
        """The version's number, as `versionAsOf` and `DeltaTable(version=…)` take it."""
        return str(number_of(version.id))

    def keep_list(self, dataset: str, versions: Sequence[str]) -> KeepList:
        """The numbers for `keep_versions` of `vacuum`: of those versions that the table at this place still has."""
        place = place_of(dataset)
        wanted = set(versions)
        present = {each.id for each in self.versions(dataset) if each.id in wanted}
        numbers = tuple(sorted(number for each in present if (number := number_of(each)) is not None))
        call = f"DeltaTable({place.uri!r}).vacuum(keep_versions={list(numbers)}, dry_run=False)"
        return KeepList(numbers, call, tuple(sorted(wanted - present)))

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The data files of the version, as the log lists them. Raises CorruptObject when it lists others by now."""
        place = place_of(version.ref.dataset)
        found = snapshot.kept_manifest(place, version.id, version.content_digest)
        if found is None:
            found = load_exactly(place, version.id).manifest()[0]
            if version.content_digest not in (None, found.digest):
                raise CorruptObject(
                    "the log lists other files for this version than it did",
                    reference=version.ref,
                    expected=version.content_digest,
                    got=found.digest,
                )
        return found

    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """Reads files that are there with their recorded size."""
        return check.reader_of(place_of(version.ref.dataset), version, manifest)

    def checker(self, version: DatasetVersion, manifest: Manifest) -> CheckFile:
        """Proves table and log entry, then looks at each file."""
        return check.checker_of(place_of(version.ref.dataset), version, manifest)

    def table(self, version: DatasetVersion, kind: TableKind) -> Any:
        """The table at exactly this version."""
        return tables.load_table(place_of(version.ref.dataset), version, self.manifest(version), kind)

    def health(self) -> Health:
        """Whether deltalake is there; no table is asked."""
        known = dict.fromkeys(sorted(settings.of_provider(self.name, self.settings_prefixes)), "environment")
        try:
            return Health(True, f"deltalake {snapshot.library().__version__}", known)
        except SettingsError as error:
            return Health.not_installed("deltalake", error)


def _described(found: Snapshot) -> DatasetVersion:
    manifest, rows = found.manifest()
    raw = {"uri": found.place.uri, **manifest.made, "commitInfo": dict(found.commit.info) if found.commit else None}
    return DatasetVersion(
        found.place.ref.at(found.id),
        usage_bytes=manifest.total_bytes,
        content_digest=manifest.digest,
        immutable=False,
        counts={"files": len(manifest)} | ({} if rows is None else {"rows": rows}),
        raw=raw,
        **_words(found.commit),
    )


def _listed(place: Place, number: int, table_id: str, commit: Commit | None) -> DatasetVersion:
    ref = place.ref.at(version_id(number, table_id))
    return DatasetVersion(ref, immutable=False, raw={"table": table_id, "version": number}, **_words(commit))


def _words(commit: Commit | None) -> dict[str, Any]:
    """What a commit says of itself; nothing for one that was cleaned up."""
    if commit is None:
        return {}
    words: Mapping[str, Any] = {key: value for key, value in commit.info.items() if key not in _TAKEN}
    if len(json.dumps(words)) > MAX_METADATA:
        text = commit.info.get("userMetadata")
        words = {"userMetadata": text} if isinstance(text, str) and len(text) < MAX_METADATA else {}
    operation, creator = commit.info.get("operation"), commit.info.get("userName")
    return {
        "created": commit.date,
        "message": operation if isinstance(operation, str) else None,
        "creator": creator if isinstance(creator, str) else None,
        "metadata": words,
    }


def _at(log: Log, moment: datetime, ref: DatasetRef) -> int:
    """The newest version committed not later than a moment."""
    earliest = None
    for number in range(log.newest, log.oldest - 1, -1):
        commit = log.commit(number)
        if commit is None:
            break  # only its checkpoint is left, which does not say when it was committed
        earliest = commit.date
        if earliest <= moment:
            return number
    date = earliest.isoformat(timespec="milliseconds") if earliest else "unknown"
    raise NotFound(
        "no version that can be loaded is so old",
        provider=NAME,
        operation="resolve",
        reference=ref,
        got=f"the oldest one with a date is of {date}",
    )
