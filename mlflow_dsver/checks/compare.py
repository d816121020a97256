"""Compare two runs: whether their data is the same, renamed or different, and which params and metrics differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from mlflow_dsver.checks.diff import difference_of
from mlflow_dsver.checks.render import PATHS, difference_lines, difference_summary
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.json_values import to_json
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Capability
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record.facts import Run
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.history import links_of
from mlflow_dsver.tracking.queries import Tracking


class Sameness(StrEnum):
    """How the data of one role in the first run relates to that in the second."""

    SAME = "same data"
    """The same version."""
    RENAMED = "same bytes under other names"
    """Another version with the same content, or the same files under other paths."""
    OTHER = "other data"
    UNKNOWN = "unknown"
    """Different versions, and the files of at least one cannot be listed."""
    ONLY_FIRST = "only in the first run"
    ONLY_SECOND = "only in the second run"


@dataclass(frozen=True, slots=True)
class RoleComparison:
    """One role in two runs. reason: why the files were not compared; None if they were.

    difference: None if the versions are equal or their files unknown.
    """

    role: str
    sameness: Sameness
    first: DatasetVersion | None = field(metadata={"hint": DatasetRef})
    second: DatasetVersion | None = field(metadata={"hint": DatasetRef})
    difference: Difference | None = None
    reason: str | None = None


Pair = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class CompareReport:
    """The comparison of two runs; false when each role has the same files under the same paths in both.

    params, metrics: name to (first, second) of those that differ; None where a run has none. `dsver.*` is left out.
    """

    first: Run
    second: Run
    roles: tuple[RoleComparison, ...]
    params: Mapping[str, Pair]
    metrics: Mapping[str, Pair]

    def __bool__(self) -> bool:
        return self.exit_code != 0

    @property
    def exit_code(self) -> int:
        """0 same data, 1 different data, 3 unknown, or no link in either run."""
        kinds = {each.sameness for each in self.roles}
        if kinds & {Sameness.OTHER, Sameness.ONLY_FIRST, Sameness.ONLY_SECOND}:
            return 1
        return 3 if Sameness.UNKNOWN in kinds or not kinds else 0


def compare(first: str, second: str) -> CompareReport:
    """Compare two runs by their ids. Raises RunNotFound and TrackingError."""
    tracking = Tracking()
    one, two = tracking.run(first), tracking.run(second)
    left = {link.role: link.version for link in links_of(first)}
    right = {link.role: link.version for link in links_of(second)}
    roles = tuple(compare_role(role, left.get(role), right.get(role)) for role in sorted({*left, *right}))
    metrics = _differing(_texts(one.metrics), _texts(two.metrics))
    return CompareReport(one, two, roles, _differing(one.params, two.params), metrics)


def compare_role(role: str, first: DatasetVersion | None, second: DatasetVersion | None) -> RoleComparison:
    """Compare the versions that two runs used in a role. first, second: None if the run has no such role."""
    if first is None or second is None:
        sameness = Sameness.ONLY_SECOND if first is None else Sameness.ONLY_FIRST
        return RoleComparison(role, sameness, first, second)
    if first.ref == second.ref and first.content_digest == second.content_digest:
        return RoleComparison(role, Sameness.SAME, first, second)
    if first.content_digest is not None and first.content_digest == second.content_digest:
        return RoleComparison(role, Sameness.RENAMED, first, second)
    try:
        found = difference_of(first, second)
    except DsverError as error:
        known = _has_digest_of_bytes(first) and _has_digest_of_bytes(second)
        sameness = Sameness.OTHER if known else Sameness.UNKNOWN
        return RoleComparison(role, sameness, first, second, reason=one_line(error, 600))
    only_renamed = not (found.added or found.removed or found.changed)
    if only_renamed and found.unknown:
        return RoleComparison(role, Sameness.UNKNOWN, first, second, found)
    return RoleComparison(role, Sameness.RENAMED if only_renamed else Sameness.OTHER, first, second, found)


def _has_digest_of_bytes(version: DatasetVersion) -> bool:
    """Whether another content digest means other bytes; a digest of what a store says of its objects does not."""
    if version.content_digest is None:
        return False
    try:
        provider = get_provider(version.ref.provider)
    except DsverError:
        return True
    return not (provider.remote and Capability.EVIDENCE in provider.capabilities)


def compare_lines(report: CompareReport, limit: int = PATHS) -> Iterator[str]:
    """The report as lines of text. limit: maximum number of paths of each kind."""
    yield f"first   {_title(report.first)}"
    yield f"second  {_title(report.second)}"
    for each in report.roles:
        yield f"{each.role}: {each.sameness}"
        if each.sameness is Sameness.SAME:
            yield f"  {each.first}"
            continue
        yield f"  first   {each.first or 'nothing'}"
        yield f"  second  {each.second or 'nothing'}"
        if each.reason is not None:
            yield f"  files not compared: {each.reason}"
        if each.difference is not None:
            yield f"  {difference_summary(each.difference)}"
            for line in difference_lines(each.difference, limit):
                yield f"    {line}"
    if not report.roles:
        yield "neither run has a link to a dataset version"
    for title, pairs in (("params", report.params), ("metrics", report.metrics)):
        if pairs:
            yield f"{title} that differ"
        for name, (one, two) in pairs.items():
            yield f"  {one_line(name, 80)}: {_shown(one)} → {_shown(two)}"


def compare_json(report: CompareReport) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "schema": 1,
        "first": report.first.run_id,
        "second": report.second.run_id,
        "roles": [to_json(each) for each in report.roles],
        "params": {name: list(pair) for name, pair in report.params.items()},
        "metrics": {name: list(pair) for name, pair in report.metrics.items()},
    }


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, Pair]:
    names = sorted(name for name in {*first, *second} if not name.startswith("dsver."))
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


def _texts(metrics: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{value:.6g}" for name, value in metrics.items()}


def _title(run: Run) -> str:
    return f"{one_line(run.name, 80)} ({run.run_id}) in {one_line(run.experiment, 80)}"


def _shown(text: str | None) -> str:
    return "none" if text is None else one_line(text, 80)
