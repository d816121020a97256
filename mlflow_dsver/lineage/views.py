"""What the renderers show, as values: the rows and pages of the server, and a report of many runs.

Pure: no MLflow, no HTML. Texts are as they were recorded, and untrusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mlflow_dsver.lineage.graph import Graph, Kind, NodeId, build
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import EVERYTHING, Filter, Model, ModelOrigin, Run, Use


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A dataset in the list.

    versions, runs: how many a reader may see, each run once; None where they were not counted. name: for people,
    where the reference has an id; None elsewhere.
    """

    ref: DatasetRef
    versions: int
    runs: int | None = None
    last_used: datetime | None = None
    newest: DatasetRef | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version in the list of a dataset, as the runs that used it recorded it."""

    use: Use
    runs: int | None = None
    first_used: datetime | None = None
    last_used: datetime | None = None


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A registered model that was made from a version. aliases: such as `production`. run: None when it is gone."""

    model: Model
    aliases: tuple[str, ...] = ()
    run: Run | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """What a filter may be set to: experiments as id to name, and roles."""

    experiments: Mapping[str, str] = field(default_factory=dict)
    roles: tuple[str, ...] = ()


NO_CHOICE = Choices()


@dataclass(frozen=True, slots=True)
class IndexPage:
    """The datasets, some at a time. wanted: text that a dataset's name must contain. after: mark of the next page.

    workspaces: that the user may read; none where the server has none.
    """

    datasets: tuple[DatasetRow, ...]
    wanted: str = ""
    after: str | None = None
    before: bool = False
    workspaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DatasetPage:
    """A dataset: its versions in time, newest first, and the runs that used them.

    totals: how many versions, runs and models there are in all, as far as the filter leaves them; those that are
    not known are left out. models: registered ones, those with an alias first.
    """

    ref: DatasetRef
    versions: tuple[VersionRow, ...]
    runs: tuple[Run, ...]
    graph: Graph
    centre: NodeId
    filter: Filter = EVERYTHING
    choices: Choices = NO_CHOICE
    versions_after: str | None = None
    runs_after: str | None = None
    totals: Mapping[Kind, int] = field(default_factory=dict)
    models: tuple[ModelRow, ...] = ()
    name: str | None = None


@dataclass(frozen=True, slots=True)
class VersionPage:
    """A version: what was recorded of it, and the runs and models that it went into; see `DatasetPage`."""

    row: VersionRow
    runs: tuple[Run, ...]
    graph: Graph
    centre: NodeId
    filter: Filter = EVERYTHING
    choices: Choices = NO_CHOICE
    previous: DatasetRef | None = None
    runs_after: str | None = None
    totals: Mapping[Kind, int] = field(default_factory=dict)
    models: tuple[ModelRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run: its inputs, its models, and how its last check went.

    can_check: whether the button is shown. report: of a check made just now. note: one sentence at the top.
    others: version to the number of other runs that used it, of which the drawing has a few.
    """

    run: Run
    graph: Graph
    centre: NodeId
    can_check: bool = False
    report: object | None = None
    note: str = ""
    others: Mapping[DatasetRef, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A model, and the data that it was made from."""

    model: Model
    runs: tuple[Run, ...]
    graph: Graph
    centre: NodeId


@dataclass(frozen=True, slots=True)
class DiffPage:
    """What changed from one version to another. difference: None when it is unknown; reason says why."""

    before: DatasetRef | None
    after: DatasetRef | None
    difference: Difference | None = None
    reason: str = ""
    versions: tuple[DatasetRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """A file of a version that a search found."""

    version: DatasetRef
    path: str
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Which versions hold a file. searched: how many versions. unknown: how many have no recorded files."""

    wanted: str = ""
    hits: tuple[Hit, ...] = ()
    searched: int = 0
    unknown: int = 0
    after: str | None = None


@dataclass(frozen=True, slots=True)
class MessagePage:
    """A message instead of a page: what happened, and what to do."""

    title: str
    text: str


Page = IndexPage | DatasetPage | VersionPage | RunPage | ModelPage | DiffPage | SearchPage | MessagePage


@dataclass(frozen=True, slots=True)
class Report:
    """What was made from which data. runs: newest first. graph: as drawn, possibly with nodes omitted.

    datasets: sorted by reference; the versions of each, the last used first. orphans: registered models whose run
    was deleted.
    """

    title: str
    subtitle: str
    runs: tuple[Run, ...]
    graph: Graph
    datasets: tuple[tuple[DatasetRef, tuple[VersionRow, ...]], ...]
    orphans: tuple[ModelOrigin, ...] = ()


def report(
    runs: Iterable[Run], title: str = "Data lineage", subtitle: str = "", orphans: Iterable[ModelOrigin] = ()
) -> Report:
    """The report on these runs, which are expected newest first, and on models whose run was deleted."""
    all_runs = tuple(runs)
    grouped: dict[DatasetRef, list[VersionRow]] = {}
    for row in version_rows(all_runs):
        grouped.setdefault(row.use.dataset, []).append(row)
    datasets = tuple((ref, tuple(rows)) for ref, rows in sorted(grouped.items(), key=lambda item: str(item[0])))
    return Report(title, subtitle, all_runs, build(all_runs).first(), datasets, tuple(orphans))


def version_rows(runs: Iterable[Run]) -> list[VersionRow]:
    """Each version with its number of runs, first and last use; the last used comes first."""
    found: dict[DatasetRef, list[tuple[Run, Use]]] = {}
    for run in runs:
        for use in run.uses:
            found.setdefault(use.version, []).append((run, use))
    rows = [_row(pairs) for pairs in found.values()]
    return sorted(
        rows, key=lambda row: (row.last_used is not None, row.last_used, str(row.use.version)), reverse=True
    )


def _row(pairs: list[tuple[Run, Use]]) -> VersionRow:
    starts = sorted(run.started for run, _ in pairs if run.started)
    best = min((use for _, use in pairs), key=lambda use: use.grade or "E")
    return VersionRow(
        best,
        runs=len({run.run_id for run, _ in pairs}),
        first_used=starts[0] if starts else None,
        last_used=starts[-1] if starts else None,
    )
