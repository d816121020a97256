"""The provider of Iceberg tables: a version is a snapshot of a table.

Nothing is written but the tags and properties of holds. The grade is C: Iceberg keeps no checksum of a file, and that
files are never written again is a convention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from mlflow_dsver import settings
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import InvalidArgument, NotFound, SettingsError
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.date_selectors import is_date, moment_of
from mlflow_dsver.providers.file_checks import CheckFile, FileResult
from mlflow_dsver.providers.file_fetching import another
from mlflow_dsver.providers.file_provider import FileProvider, ReadFile
from mlflow_dsver.providers.iceberg import holding
from mlflow_dsver.providers.iceberg.catalogs import call, iceberg_errors, library, load_table
from mlflow_dsver.providers.iceberg.info import NAME
from mlflow_dsver.providers.iceberg.snapshot import (
    Snapshot,
    address_of,
    check_list,
    exactly,
    manifest_of,
    snapshot_number,
    table_id,
    version_id,
)
from mlflow_dsver.providers.interface import SUGGESTION_LIMIT, Capability, Health, TableKind

__all__ = ["IcebergProvider"]

GRADE = Grade("C", ("files by size and number of records", "files are not protected"))
_KINDS: dict[str, str] = {"pandas": "pandas", "polars": "polars", "arrow": "pyarrow", "spark": "pyspark.sql"}


class IcebergProvider(FileProvider):
    """Tables of Iceberg catalogs. progress: receives the progress of long operations."""

    name = NAME
    capabilities = frozenset(
        {Capability.TAGS, Capability.BYTES, Capability.EVIDENCE, Capability.TABLE, Capability.HOLD}
    )
    settings_prefixes = ("PYICEBERG_", "AWS_", "GOOGLE_", "AZURE_")
    settings_files: ClassVar[tuple[Path, ...]] = (Path("~/.pyiceberg.yaml"),)

    def __init__(self, *, progress: Progress = SILENT) -> None:
        self.progress = progress

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The snapshot of that id, with its files listed. Raises NotFound for another table of that name."""
        return self._described(exactly(DatasetRef(self.name, dataset, version)))

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """All snapshots of the table, newest first, unlisted; with a tag the one that has it."""
        ref = DatasetRef(self.name, dataset)
        table = load_table(ref)
        if tag is not None:
            found = table.refs().get(tag)
            if found is not None and _is_tag(tag, found):
                yield self.get(dataset, version_id(found.snapshot_id, table_id(table)))
            return
        for each in sorted(table.snapshots(), key=lambda one: -one.timestamp_ms):
            yield self._version(Snapshot(ref, table, each))

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """A snapshot's id, a branch or tag of the table, a date (the snapshot current then), or `latest`."""
        selector = ref.selector
        if selector is not None and snapshot_number(selector) is not None:
            try:
                return self.get(ref.dataset, selector)
            except NotFound as error:
                tip = self._unknown(load_table(ref), ref).tip
                raise self._not_found(ref, f"{error.what}{f'; {error.got}' if error.got else ''}", tip) from error
        table = load_table(ref)
        found = self._named(table, ref)
        if found is None:
            raise self._unknown(table, ref)
        return self._described(Snapshot(ref.at(None), table, found))

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The same as `resolve`."""
        return self.resolve(ref)

    def grade(self, version: DatasetVersion) -> Grade:
        """C: files have no checksum, and nothing keeps them from being written again."""
        return GRADE

    def revision(self, version: DatasetVersion) -> str:
        """The snapshot's id, as `scan(snapshot_id=…)` and Spark's option `snapshot-id` take it."""
        return str(snapshot_number(version.id))

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The data and delete files of the snapshot."""
        return manifest_of(exactly(version.ref))[0]

    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """Reads files through the table's own input and output."""
        found = exactly(version.ref)

        def read(entry: FileEntry, start: int, stop: int) -> bytes:
            source = found.table.io.new_input(address_of(found, manifest, entry.path))
            with iceberg_errors(version.ref, "read a file"):
                if len(source) != entry.bytes:
                    raise another(entry, version.ref, f"{entry.bytes:,} bytes", f"{len(source):,} bytes")
                with source.open() as stream:
                    stream.seek(start)
                    return bytes(stream.read(stop - start))

        return read

    def checker(self, version: DatasetVersion, manifest: Manifest) -> CheckFile:
        """Proves the table and the snapshot's list of files, then looks at each file."""
        found = exactly(version.ref)
        check_list(found, manifest)

        def check(entry: FileEntry) -> FileResult:
            with iceberg_errors(version.ref, "look at a file"):
                size = len(found.table.io.new_input(address_of(found, manifest, entry.path)))
            if size != entry.bytes:
                return FileResult(entry.path, False, "size", why=f"{size:,} bytes instead of {entry.bytes:,}")
            return FileResult(entry.path, True, "size", weak=True)

        return check

    def table(self, version: DatasetVersion, kind: TableKind) -> Any:
        """The table at exactly this snapshot, of exactly this table.

        Spark reads it through the catalog of the same name in its active session, which has to be the same one.
        """
        if kind not in _KINDS:
            raise InvalidArgument("no such kind of table", got=kind, expected=", ".join(_KINDS))
        try:
            module = import_module(_KINDS[kind])
        except ImportError as error:
            name = _KINDS[kind].partition(".")[0]
            raise SettingsError(f"needs {name}, which is not installed", tip=f"pip install {name}") from error
        found = exactly(version.ref)
        if kind == "spark":
            return _spark(module, found)
        with iceberg_errors(version.ref, "load the table"):
            arrow = found.table.scan(snapshot_id=found.snapshot.snapshot_id).to_arrow()
        if kind == "pandas":
            return arrow.to_pandas()
        return module.from_arrow(arrow) if kind == "polars" else arrow

    def hold(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Set a tag without an end on the snapshot, and keep the reasons in a property of the table."""
        holding.hold(version.ref, reasons)

    def release(self, version: DatasetVersion, reasons: Sequence[Hold]) -> None:
        """Take back these reasons; with the last one our tag goes."""
        holding.release(version.ref, reasons)

    def holds(self, version: DatasetVersion) -> tuple[Hold, ...]:
        """The reasons in the table's property."""
        return holding.holds_of(exactly(version.ref))

    def health(self) -> Health:
        """Whether pyiceberg is there; no catalog is asked."""
        file = settings.expanded("~/.pyiceberg.yaml", "HOME")
        known = {"~/.pyiceberg.yaml": str(file) if file.is_file() else "not set"}
        known |= dict.fromkeys(sorted(settings.of_provider(self.name, ("PYICEBERG_",))), "environment")
        try:
            return Health(True, f"pyiceberg {library().__version__}", known)
        except SettingsError as error:
            return Health.not_installed("pyiceberg", error)

    def _named(self, table: Any, ref: DatasetRef) -> Any:
        """pyiceberg's snapshot of a selector; None for none."""
        selector = ref.selector
        if selector in (None, LATEST):
            return table.current_snapshot()
        assert selector is not None
        if selector in table.refs():
            return table.snapshot_by_id(table.refs()[selector].snapshot_id)
        if selector.isdecimal() and len(selector) <= 20:
            return table.snapshot_by_id(int(selector))
        if is_date(selector):
            moment = moment_of(ref)
            return call(ref, "resolve", lambda: table.snapshot_as_of_timestamp(int(moment.timestamp() * 1000)))
        return None

    def _unknown(self, table: Any, ref: DatasetRef) -> NotFound:
        ids = [version_id(each.snapshot_id, table_id(table)) for each in table.snapshots()][-SUGGESTION_LIMIT:]
        if not ids:
            return self._not_found(ref, "the table has no snapshot")
        near = nearest(ref.selector or "", [*table.refs(), *ids])
        what = "no snapshot, branch, tag or date of the table"
        return self._not_found(ref, what, ", ".join(str(ref.at(each)) for each in near) or None)

    def _described(self, found: Snapshot) -> DatasetVersion:
        manifest, _, records = manifest_of(found)
        return self._version(found, manifest, records)

    def _version(
        self, found: Snapshot, manifest: Manifest | None = None, records: int | None = None
    ) -> DatasetVersion:
        snapshot, table = found.snapshot, found.table
        summary = snapshot.summary
        words = dict(summary.additional_properties) if summary is not None else {}
        tags = (name for name, ref in table.refs().items() if ref.snapshot_id == snapshot.snapshot_id)
        return DatasetVersion(
            DatasetRef(NAME, found.ref.dataset, found.id),
            tags=tuple(sorted(name for name in tags if _is_tag(name, table.refs()[name]))),
            message=summary.operation.value if summary is not None else None,
            metadata=words,
            usage_bytes=None if manifest is None else manifest.total_bytes,
            content_digest=None if manifest is None else manifest.digest,
            created=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
            immutable=False,
            counts={} if manifest is None else {"files": len(manifest), "rows": records or 0},
            raw={"table": found.table_id, "snapshot": snapshot.snapshot_id, "location": str(table.location())},
        )


def _spark(sql: Any, found: Snapshot) -> Any:
    session = sql.SparkSession.getActiveSession()
    catalog, _, name = found.ref.dataset.partition("/")
    if session is None:
        raise SettingsError(
            "Spark has no active session", reference=found.ref, tip=f"one with the Iceberg catalog {catalog!r}"
        )
    return session.read.option("snapshot-id", found.snapshot.snapshot_id).table(f"{catalog}.{name}")


def _is_tag(name: str, ref: Any) -> bool:
    """Whether a ref of a table is a tag, and not one of our holds."""
    return str(ref.snapshot_ref_type.value) == "tag" and not name.startswith(holding.TAG) and name != LATEST
