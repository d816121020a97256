"""Many runs as one report: their graph, their datasets with versions in time, and the runs themselves.

Pure; every renderer (HTML, Markdown, JSON, SVG) takes a report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mlflow_dsver.lineage.graph import Graph, build
from mlflow_dsver.lineage.render.views import VersionRow
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import ModelOrigin, Run, Use


@dataclass(frozen=True, slots=True)
class Report:
    """What was made from which data. runs: newest first. graph: what is drawn, not necessarily all of it.

    datasets: sorted by reference; the versions of each, the newest first (by first use).
    orphans: registered models whose run is not there.
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
    """The report on these runs, which are expected newest first, and on models whose run is not there."""
    all_runs = tuple(runs)
    grouped: dict[DatasetRef, list[VersionRow]] = {}
    for row in version_rows(all_runs):
        grouped.setdefault(row.use.dataset, []).append(row)
    datasets = tuple((ref, tuple(rows)) for ref, rows in sorted(grouped.items(), key=lambda item: str(item[0])))
    return Report(title, subtitle, all_runs, build(all_runs).first(), datasets, tuple(orphans))


def version_rows(runs: Iterable[Run]) -> list[VersionRow]:
    """Each version with how many of these runs used it, and when first and last; the newest comes first."""
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
