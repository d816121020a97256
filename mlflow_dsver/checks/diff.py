"""Differences and shared files of dataset versions, compared by their manifests; the providers may differ.

`diff` lists the files that changed between two versions, and on request the rows and columns that changed in tables.
`overlap` lists the files that occur in more than one role of a run. `manifest_file` gets a manifest from the provider
or from a run that used the version. No data is downloaded except for tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import IO, Any

from mlflow_dsver.checks.manifest_stream import ManifestStream, diff_streams
from mlflow_dsver.checks.render import PATHS, difference_lines, difference_summary
from mlflow_dsver.checks.table_diff import TableDifference, table_differences
from mlflow_dsver.errors import CorruptObject, DsverError, Unsupported
from mlflow_dsver.model.differences import Difference, Overlap, find_overlaps
from mlflow_dsver.model.manifests import InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution.version_files import RefLike, resolve
from mlflow_dsver.text import human_bytes, one_line

RUNS = 20
"""Maximum number of runs that are searched for a manifest that the provider does not have."""


@dataclass(frozen=True, slots=True)
class DiffReport:
    """The difference of two versions; false when no file differs.

    tables: changed rows and columns of the changed files that are tables; () unless requested.
    """

    before: DatasetVersion
    after: DatasetVersion
    difference: Difference
    tables: tuple[TableDifference, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.difference)

    @property
    def exit_code(self) -> int:
        """0 no difference, 1 they differ, 3 nothing is known to differ and some files cannot be compared."""
        return 1 if self else 3 if self.difference.unknown else 0


def diff(before: RefLike, after: RefLike, *, rows: bool = False) -> DiffReport:
    """The difference of two versions.

    rows: also compare the rows of changed tables; this needs pandas, and downloads the files of both versions.
    Raises Unsupported when no manifest of a version can be found, CorruptObject when a manifest is damaged, and the
    provider's errors.
    """
    old, new = resolve(before), resolve(after)
    found = difference_of(old, new)
    tables = tuple(table_differences(old, new, found)) if rows else ()
    return DiffReport(old, new, found, tables)


def difference_of(old: DatasetVersion, new: DatasetVersion) -> Difference:
    """The difference of two resolved versions; raises the same errors as `diff`."""
    try:
        with manifest_file(old) as before, manifest_file(new) as after:
            return diff_streams(before, after)
    except InvalidManifest as error:
        raise CorruptObject(f"a manifest is damaged: {error}", reference=f"{old} or {new}") from error


def diff_lines(report: DiffReport, limit: int) -> Iterator[str]:
    """The report as lines of text. limit: maximum number of paths of each kind."""
    yield f"from  {report.before}"
    yield f"to    {report.after}"
    yield difference_summary(report.difference)
    for line in difference_lines(report.difference, limit):
        yield f"  {line}"
    for table in report.tables:
        yield from table.lines()


def diff_json(report: DiffReport) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "schema": 1,
        "before": str(report.before),
        "after": str(report.after),
        "different": bool(report),
        "difference": report.difference.to_json(),
        "tables": [table.to_json() for table in report.tables],
    }


@contextmanager
def manifest_file(version: DatasetVersion) -> Iterator[IO[bytes]]:
    """The compressed manifest of a version, open for reading: from its provider, else from a run that used it.

    Raises Unsupported when neither has one, CorruptObject when the provider's manifest cannot be read, and the
    provider's other errors.
    """
    provider = get_provider(version.ref.provider)
    copy = provider.local_copy(version)
    if copy is not None and copy.manifest is not None:
        try:
            stream = copy.manifest.open("rb")
        except OSError as error:
            raise CorruptObject("its manifest cannot be read", reference=version, got=error.strerror) from error
        with stream:
            yield stream
        return
    manifest = provider.manifest(version)
    content = manifest.to_bytes() if manifest is not None else _from_runs(version)
    if content is None:
        raise Unsupported(
            "no manifest of this version was found",
            provider=provider.name,
            operation="list files",
            reference=version,
            expected="a manifest at the provider, or on a run that hashed the files",
            tip="link a run to this version on a machine that has its files",
        )
    yield BytesIO(content)


def manifest_of(version: DatasetVersion) -> Manifest:
    """The manifest of a version, parsed; raises the same errors as `manifest_file`."""
    with manifest_file(version) as stream:
        try:
            manifest = read_manifest(stream)
        except InvalidManifest as error:
            raise CorruptObject(f"its manifest is damaged: {error}", reference=version) from error
    if version.content_digest not in (None, manifest.digest):
        raise CorruptObject(
            "its manifest does not have the version's content digest",
            reference=version,
            expected=version.content_digest,
            got=manifest.digest,
        )
    return manifest


def _from_runs(version: DatasetVersion) -> bytes | None:
    from mlflow_dsver.record.schema import manifest_name
    from mlflow_dsver.tracking.history import runs_using
    from mlflow_dsver.tracking.queries import Tracking

    tracking = Tracking()
    for use in islice(runs_using(version), RUNS):
        with suppress(DsverError, InvalidManifest):
            content = tracking.record_files(tracking.run(use.run_id)).get(manifest_name(use.role))
            if content is None:
                continue
            lines = ManifestStream(BytesIO(content))
            if version.content_digest in (None, lines.content_digest):
                return content
    return None


@dataclass(frozen=True, slots=True)
class OverlapReport:
    """The files that occur in more than one role; true when there are any.

    versions: role to the version compared. unknown: role to the reason why its files could not be listed.
    """

    versions: Mapping[str, DatasetVersion]
    overlaps: tuple[Overlap, ...]
    unknown: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.overlaps)

    @property
    def exit_code(self) -> int:
        """0 no overlap, 1 overlap found, 3 some role could not be compared."""
        return 1 if self.overlaps else 3 if self.unknown else 0


def overlap(run_or_inputs: str | Mapping[str, RefLike]) -> OverlapReport:
    """The files that the inputs of a run share; or those of a mapping from role to reference.

    run_or_inputs: a run id or the mapping. Raises RunNotFound and TrackingError for a run, and the provider's errors
    for a reference that cannot be resolved. A role whose files cannot be listed is reported in `unknown`.
    """
    if isinstance(run_or_inputs, str):
        from mlflow_dsver.tracking.history import links_of

        versions = {link.role: link.version for link in links_of(run_or_inputs)}
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
    """The report as lines of text. limit: maximum number of file pairs of each overlap."""
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
    """The report as a JSON object."""
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
