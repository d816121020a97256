"""What each page shows, read with the visitor's eyes: from a request's values to a view."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_dsver.lineage.facts import Filter, Model, Run
from mlflow_dsver.lineage.graph import Graph, Kind, Node, NodeId, build, dataset_node, model_node, version_node
from mlflow_dsver.lineage.report import version_rows
from mlflow_dsver.lineage.views import (
    Choices,
    DatasetPage,
    IndexPage,
    ModelPage,
    RunPage,
    SearchPage,
    VersionPage,
    VersionRow,
)
from mlflow_dsver.refs import DatasetRef
from mlflow_dsver.tracking.app import catalogue, contents
from mlflow_dsver.tracking.app.catalogue import VERSIONS, Catalogue
from mlflow_dsver.tracking.app.visitor import Visitor
from mlflow_dsver.tracking.lineage_queries import registered_model, run_facts, runs_of, runs_page, with_models
from mlflow_dsver.tracking.run_search import LINKED

ROLES = ("training", "validation", "test", "eval")
SIBLINGS = 4
"""Other runs of a version that the drawing of a run shows at most."""

_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_MODEL = re.compile(r"models:/(?P<name>.+)/(?P<version>[0-9]{1,10})\Z")
_LOGGED = re.compile(r"models:/(?P<id>m-[0-9a-f]{1,60})\Z")


class NotThere(LookupError):
    """What was asked for does not exist, or is not the visitor's to see: the same answer for both."""


def index(visitor: Visitor, wanted: str, after: str | None) -> IndexPage:
    """The datasets, a page of them."""
    known = _catalogue(visitor)
    if known is None:
        runs, _ = runs_page(visitor, visitor.experiments, LINKED)
        return IndexPage(tuple(_datasets_of(runs, wanted)), wanted)
    visitor.check_may_read_runs()
    rows, mark = known.datasets(wanted, after)
    return IndexPage(tuple(rows), wanted, mark, before=after is not None)


def dataset(visitor: Visitor, ref: DatasetRef, wanted: Filter, skip: int, token: str | None) -> DatasetPage:
    """A dataset with its versions and runs."""
    runs, following = _runs(visitor, ref, wanted, token)
    known = _catalogue(visitor)
    rows, more = known.versions(ref, skip) if known else (version_rows(runs), False)
    if not rows and not runs:
        raise NotThere(f"No run that you may read has used {ref}.")
    centre = NodeId(Kind.DATASET, str(ref))
    graph = build(runs).around(centre) if runs else _bare(rows[0])
    names = {str(row.use.version) for row in rows}
    return DatasetPage(
        ref,
        tuple(rows),
        runs,
        graph,
        centre,
        wanted,
        _choices(runs, known.experiments_of(names) if known else {}),
        versions_after=str(skip + VERSIONS) if more else None,
        runs_after=following,
    )


def version(visitor: Visitor, ref: DatasetRef, wanted: Filter, token: str | None) -> VersionPage:
    """A version with the runs that used it."""
    runs, following = _runs(visitor, ref, wanted, token)
    known = _catalogue(visitor)
    row = (known.version(ref) if known else None) or next(iter(version_rows(runs)), None)
    if row is None:
        raise NotThere(f"No run that you may read has used {ref}.")
    centre = NodeId(Kind.VERSION, str(ref))
    graph = build(runs).around(centre) if runs else _bare(row)
    return VersionPage(
        row,
        runs,
        graph,
        centre,
        wanted,
        _choices(runs, known.experiments_of([str(ref)]) if known else {}),
        previous=known.previous(ref) if known else None,
        runs_after=following,
    )


def run(visitor: Visitor, run_id: str, report: object | None = None, note: str = "") -> RunPage:
    """A run with its inputs and models. report: of a check that was just made; note: what else to say of it."""
    here = _entity(visitor, run_id)
    around: dict[str, Run] = {here.run_id: here}
    for use in here.uses[:4]:
        for other in runs_of(visitor, visitor.experiments, use.version)[0][:SIBLINGS]:
            around.setdefault(other.run_id, other)
    all_runs = with_models(visitor, list(around.values()), list(visitor.experiments))
    here, centre = all_runs[0], NodeId(Kind.RUN, here.run_id)
    graph = build(all_runs).around(centre)
    return RunPage(here, graph, centre, can_check=bool(here.uses), report=report, note=note)


def run_of(visitor: Visitor, run_id: str) -> Run:
    """A run that the visitor may read, with its models. Raises NotThere."""
    return with_models(visitor, [_entity(visitor, run_id)], list(visitor.experiments))[0]


def model(visitor: Visitor, key: str) -> ModelPage:
    """A model and the run that made it. Raises NotThere."""
    try:
        made, run_id = _model(visitor, key)
    except MlflowException as error:
        raise NotThere("There is no such model, or it is not yours to see.") from error
    try:
        runs = (run_of(visitor, run_id or ""),)
    except NotThere:
        return ModelPage(made, (), Graph(), NodeId(Kind.MODEL, made.key))
    centre = model_node(made).id
    return ModelPage(made, runs, build(runs).around(centre), centre)


def search(visitor: Visitor, wanted: str, skip: int) -> SearchPage:
    """The versions that hold a file; an empty search gives the empty page."""
    known = _catalogue(visitor)
    if not wanted or known is None:
        return SearchPage(wanted)
    visitor.check_may_read_runs()
    return contents.search(visitor, known, wanted, skip)


def _entity(visitor: Visitor, run_id: str) -> Run:
    if not _RUN_ID.match(run_id):
        raise NotThere("That is not the id of a run.")
    try:
        return run_facts(visitor.get_run(run_id), visitor.experiments)
    except MlflowException as error:
        raise NotThere("There is no such run, or it is not yours to see.") from error


def _runs(visitor: Visitor, ref: DatasetRef, wanted: Filter, token: str | None) -> tuple[tuple[Run, ...], str | None]:
    runs, following = runs_of(visitor, visitor.experiments, ref, wanted, token)
    return with_models(visitor, runs, list(visitor.experiments)), following


def _model(visitor: Visitor, key: str) -> tuple[Model, str | None]:
    if found := _LOGGED.match(key):
        ids = list(visitor.experiments)
        models = visitor.search_logged_models(ids, f"model_id = '{found['id']}'", max_results=1)
        if models:
            return Model(models[0].name, None, models[0].model_id), models[0].source_run_id
    elif found := _MODEL.match(key):
        entity = visitor.get_model_version(found["name"], found["version"])
        return registered_model(entity), entity.run_id
    raise NotThere("There is no such model, or it is not yours to see.")


def _catalogue(visitor: Visitor) -> Catalogue | None:
    engine: Any = catalogue.engine()
    return Catalogue(engine, visitor.experiments) if engine is not None else None


def _choices(runs: Iterable[Run], experiments: Mapping[str, str]) -> Choices:
    roles = dict.fromkeys([*ROLES, *(use.role for run in runs for use in run.uses)])
    named = {**experiments, **{run.experiment_id: run.experiment for run in runs}}
    return Choices(dict(sorted(named.items(), key=lambda item: item[1].lower())), tuple(roles))


def _datasets_of(runs: Iterable[Run], wanted: str) -> Iterable[Any]:
    from mlflow_dsver.lineage.views import DatasetRow

    grouped: dict[DatasetRef, list[VersionRow]] = {}
    for row in version_rows(runs):
        grouped.setdefault(row.use.dataset, []).append(row)
    for ref, rows in sorted(grouped.items(), key=lambda item: str(item[0])):
        if wanted.lower() in str(ref).lower():
            newest = rows[0]
            uses = sum(row.runs or 0 for row in rows)
            yield DatasetRow(ref, len(rows), uses, newest.last_used, newest.use.version)


def _bare(row: VersionRow) -> Graph:
    """The graph of a version whose runs are all filtered out: itself and its dataset."""
    from mlflow_dsver.lineage.graph import Edge

    nodes: list[Node] = [dataset_node(row.use), version_node(row.use)]
    return Graph({node.id: node for node in nodes}, (Edge(nodes[0].id, nodes[1].id),))
