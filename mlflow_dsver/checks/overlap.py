"""Which files does one role have that another has as well? From manifests alone, of a run or of references."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_dsver.checks.formatting import PATHS
from mlflow_dsver.checks.manifest_lookup import manifest_of
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.overlaps import Overlap, find_overlaps
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.resolution.version_files import RefLike, resolve
from mlflow_dsver.text import human_bytes, one_line


@dataclass(frozen=True, slots=True)
class OverlapReport:
    """What the roles share; true when they share something.

    versions: role to what was compared. unknown: role to why its files could not be listed.
    """

    versions: Mapping[str, DatasetVersion]
    overlaps: tuple[Overlap, ...]
    unknown: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.overlaps)

    @property
    def exit_code(self) -> int:
        """0 nothing shared, 1 something is, 3 some role could not be looked at."""
        return 1 if self.overlaps else 3 if self.unknown else 0


def overlap(run_or_inputs: str | Mapping[str, RefLike]) -> OverlapReport:
    """What the inputs of a run share, by its id; or those of a mapping from role to reference.

    Raises RunNotFound and TrackingError for a run, and the provider's errors for a reference that means nothing. A
    role whose files nobody can list is told as unknown.
    """
    if isinstance(run_or_inputs, str):
        from mlflow_dsver.tracking.history import inputs_of

        versions = {link.role: link.version for link in inputs_of(run_or_inputs)}
    else:
        versions = {role: resolve(ref) for role, ref in run_or_inputs.items()}
    manifests: dict[str, Manifest] = {}
    unknown: dict[str, str] = {}
    for role, version in versions.items():
        try:
            manifests[role] = manifest_of(version)
        except DsverError as error:
            unknown[role] = one_line(error, 600)
    return OverlapReport(versions, find_overlaps(manifests), unknown)


def overlap_lines(report: OverlapReport, limit: int = PATHS) -> Iterator[str]:
    """The report for people. limit: pairs of files that are shown of each overlap."""
    for role, version in report.versions.items():
        yield f"{role}  {version}"
    for each in report.overlaps:
        yield str(each)
        for before, after in each.pairs[:limit]:
            same = one_line(before.path, 300)
            yield f"  {one_line(after.path, 300)}  {human_bytes(after.bytes)}  {each.first}: {same}"
        if len(each.pairs) > limit:
            yield f"  {len(each.pairs) - limit:,} more"
    for role, why in report.unknown.items():
        yield f"not compared: {role} ({why})"
    if not report.overlaps and len(report.versions) - len(report.unknown) > 1:
        yield "no file is in two roles"


def overlap_json(report: OverlapReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "schema": 1,
        "versions": {role: str(version) for role, version in report.versions.items()},
        "overlaps": [
            {
                "first": each.first,
                "second": each.second,
                "files": len(each.pairs),
                "bytes": each.bytes,
                "total": each.total,
                "pairs": [{each.first: a.path, each.second: b.path, "digest": b.digest} for a, b in each.pairs],
            }
            for each in report.overlaps
        ],
        "unknown": dict(report.unknown),
    }
