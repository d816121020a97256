"""What changed from one version to another, of any providers, by their manifests; and inside tables on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_dsver.checks.formatting import difference_lines, difference_summary
from mlflow_dsver.checks.manifest_lookup import manifest_file
from mlflow_dsver.checks.manifest_stream import diff_streams
from mlflow_dsver.checks.tables import TableDifference, table_differences
from mlflow_dsver.errors import CorruptObject
from mlflow_dsver.model.manifests import Difference, InvalidManifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.resolution.version_files import RefLike, resolve


@dataclass(frozen=True, slots=True)
class DiffReport:
    """From one version to another; false when no file differs.

    tables: what changed inside changed files that are tables; () unless it was asked for.
    """

    before: DatasetVersion
    after: DatasetVersion
    difference: Difference
    tables: tuple[TableDifference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.difference)


def diff(before: RefLike, after: RefLike, *, rows: bool = False) -> DiffReport:
    """The difference of two versions. Fetches no data unless `rows` asks for what changed inside tables.

    Raises Unsupported when the files of a version are not known to anybody, CorruptObject when a manifest is damaged,
    and the provider's errors. rows needs pandas, and the bytes of both versions.
    """
    old, new = resolve(before), resolve(after)
    found = difference_of(old, new)
    tables = tuple(table_differences(old, new, found)) if rows else ()
    return DiffReport(old, new, found, tables)


def difference_of(old: DatasetVersion, new: DatasetVersion) -> Difference:
    """The difference of two versions that were resolved; errors as of `diff`."""
    try:
        with manifest_file(old) as before, manifest_file(new) as after:
            return diff_streams(before, after)
    except InvalidManifest as error:
        raise CorruptObject(f"a manifest is damaged: {error}", reference=f"{old} or {new}") from error


def diff_lines(report: DiffReport, limit: int) -> Iterator[str]:
    """The report for people. limit: paths of each kind that are shown."""
    yield f"from  {report.before}"
    yield f"to    {report.after}"
    yield difference_summary(report.difference)
    for line in difference_lines(report.difference, limit):
        yield f"  {line}"
    for table in report.tables:
        yield from table.lines()


def diff_json(report: DiffReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "schema": 1,
        "before": str(report.before),
        "after": str(report.after),
        "different": bool(report),
        "difference": report.difference.to_json(),
        "tables": [table.to_json() for table in report.tables],
    }
