"""Builds the view of each page from a request's values, with the user's permissions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_dsver.lineage.graph import Graph, Kind, Node, NodeId, build, dataset_node, model_node, version_node
from mlflow_dsver.lineage.views import (
    Choices,
    DatasetPage,
    IndexPage,
    ModelPage,
    ModelRow,
    RunPage,
    SearchPage,
    VersionPage,
    VersionRow,
    version_rows,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import EVERYTHING, Filter, Model, Run
from mlflow_dsver.server import contents
from mlflow_dsver.server.dataset_index import VERSIONS, DatasetIndex, History
from mlflow_dsver.server.registered_models import Registry, runs_by_id
from mlflow_dsver.server.registered_models import rows as model_rows
from mlflow_dsver.server.rest_client import RestClient
from mlflow_dsver.tracking.lineage_queries import is_use_of, registered_model, run_in, runs_page, with_models
from mlflow_dsver.tracking.mlflow_private import server as private
from mlflow_dsver.tracking.run_search import ANY_INPUT, LINKED

ROLES = ("training", "validation", "test", "eval")
SIBLINGS, SHARED = 4, 4
"""Other runs of a version that the drawing of a run shows at most, and versions of which it shows any."""
RUNS, MODELS = 50, 100
"""Runs on a page, and registered models that are listed at most."""
DRAWN = 20
"""Runs that made listed models and are drawn besides those of the page."""

_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_MODEL = re.compile(r"models:/(?P<name>.+)/(?P<version>[0-9]{1,10})\Z")
_LOGGED = re.compile(r"models:/(?P<id>m-[0-9a-f]{1,60})\Z")


class InvalidPageToken(Exception):
    """The page token in an address is invalid."""


class PageNotFound(LookupError):
    """The requested item does not exist, or the user may not read it: the same response for both."""


def index(client: RestClient, text: str, after: str | None) -> IndexPage:
    """The datasets, a page of them."""
    known = _catalogue(client)
    if known is None:
        runs, _ = runs_page(client, client.experiments, LINKED)
        return IndexPage(tuple(_datasets_of(runs, text)), text, workspaces=client.workspaces())
    client.check_may_read_runs()
    rows, token = known.datasets(text, after)
    return IndexPage(tuple(rows), text, token, before=after is not None, workspaces=client.workspaces())


def dataset(client: RestClient, ref: DatasetRef, filters: Filter, skip: int, token: str | None) -> DatasetPage:
    """A dataset with the versions and runs that match the filter."""
    known, centre = _catalogue(client), NodeId(Kind.DATASET, str(ref))
    if known is None:
        runs, following = _searched(client, ref, filters, token)
        rows = version_rows(runs)
        if not rows:
            raise _not_found(ref)
        graph = build(runs).around(centre)
        choices = _choices(runs, {})
        return DatasetPage(ref, tuple(rows), runs, graph, centre, filters, choices, runs_after=following)
    shown = _filtered(client, known, ref, filters, _offset(token))
    rows, more = list(shown.history.rows[skip : skip + VERSIONS]), len(shown.history.rows) > skip + VERSIONS
    name = next((row.use.dataset_name for row in shown.history.rows if row.use.dataset_name), None)
    return DatasetPage(
        ref,
        tuple(rows),
        shown.runs,
        _drawn(shown, centre, rows),
        centre,
        filters,
        _choices(shown.runs, known.experiments_of(ref)),
        versions_after=str(skip + VERSIONS) if more else None,
        runs_after=shown.following,
        totals={
            Kind.VERSION: len(shown.history.rows),
            Kind.RUN: len(shown.history.run_ids),
            Kind.MODEL: shown.models_in_all,
        },
        models=shown.models,
        name=name,
    )


def version(client: RestClient, ref: DatasetRef, filters: Filter, token: str | None) -> VersionPage:
    """A version with the runs that used it and match the filter."""
    known, centre = _catalogue(client), NodeId(Kind.VERSION, str(ref))
    if known is None:
        runs, following = _searched(client, ref, filters, token)
        row = next(iter(version_rows(runs)), None)
        if row is None:
            raise _not_found(ref)
        graph = build(runs).around(centre)
        return VersionPage(row, runs, graph, centre, filters, _choices(runs, {}), runs_after=following)
    shown = _filtered(client, known, ref, filters, _offset(token))
    whole = known.history(ref) if filters else shown.history
    row = whole.rows[0]
    return VersionPage(
        row,
        shown.runs,
        _drawn(shown, centre, [row]),
        centre,
        filters,
        _choices(shown.runs, known.experiments_of(ref)),
        previous=known.history(ref.at(None)).previous(ref),
        runs_after=shown.following,
        totals={Kind.RUN: len(shown.history.run_ids), Kind.MODEL: shown.models_in_all},
        models=shown.models,
    )


def run(client: RestClient, run_id: str, report: object | None = None, note: str = "") -> RunPage:
    """A run with its inputs and models. report: of a new check. note: a further message."""
    here, known = _entity(client, run_id), _catalogue(client)
    around: dict[str, Run] = {here.run_id: here}
    versions = list(dict.fromkeys(use.version for use in here.uses))
    others: dict[DatasetRef, int] = {}
    for ref in versions[:SHARED]:
        if known is None:
            siblings = list(_searched(client, ref, EVERYTHING, None)[0])
        else:
            ids = [each for each in known.history(ref).run_ids if each != here.run_id]
            others[ref] = len(ids)
            siblings = list(runs_by_id(client, ids[:SIBLINGS]).values())
        for other in EVERYTHING.apply(siblings[:SIBLINGS], lambda use: use.version in versions):
            around.setdefault(other.run_id, other)
    all_runs = with_models(client, list(around.values()), list(client.experiments))
    here, centre = all_runs[0], NodeId(Kind.RUN, here.run_id)
    graph = build(all_runs).around(centre)
    return RunPage(here, graph, centre, can_check=bool(here.uses), report=report, note=note, others=others)


def run_of(client: RestClient, run_id: str) -> Run:
    """A run that the user may read, with its models. Raises PageNotFound."""
    return with_models(client, [_entity(client, run_id)], list(client.experiments))[0]


def model(client: RestClient, key: str) -> ModelPage:
    """A model and the run that made it. Raises PageNotFound."""
    try:
        made, run_id = _model(client, key)
    except MlflowException as error:
        raise PageNotFound("There is no such model, or it is not yours to see.") from error
    try:
        runs = (run_of(client, run_id or ""),)
    except PageNotFound:
        return ModelPage(made, (), Graph(), NodeId(Kind.MODEL, made.key))
    centre = model_node(made).id
    return ModelPage(made, runs, build(runs).around(centre), centre)


def search(client: RestClient, text: str, skip: int) -> SearchPage:
    """The versions with a file; an empty page without a text."""
    known = _catalogue(client)
    if not text or known is None:
        return SearchPage(text)
    client.check_may_read_runs()
    return contents.search(client, known, text, skip)


def _entity(client: RestClient, run_id: str) -> Run:
    if not _RUN_ID.match(run_id):
        raise PageNotFound("That is not the id of a run.")
    try:
        return run_in(client.get_run(run_id), client.experiments)
    except MlflowException as error:
        raise PageNotFound("There is no such run, or it is not yours to see.") from error


@dataclass(frozen=True, slots=True)
class _Filtered:
    """What a page of a dataset or version shows. runs: a page of them. following: where the next page begins.

    models: those that are listed, of `models_in_all`. drawn: runs of listed models besides, for the drawing.
    """

    history: History
    runs: tuple[Run, ...]
    following: str | None
    models: tuple[ModelRow, ...]
    models_in_all: int
    drawn: tuple[Run, ...]


def _filtered(client: RestClient, known: DatasetIndex, ref: DatasetRef, filters: Filter, offset: int) -> _Filtered:
    """Raises PageNotFound when the user may read nothing of the reference."""
    client.check_may_read_runs()
    history = known.history(ref, filters)
    if not history.exists:
        raise _not_found(ref)
    here = history.run_ids[offset : offset + RUNS]
    registry = Registry(client, private.registry_engine())
    found = registry.made_from(ref, history.run_ids, None if filters else history.deleted)
    listed = model_rows(found, registry.aliases(found))[:MODELS]
    makers = {(model.name, str(model.version)): run_id for run_id, model in found}
    made_by = {row.model.key: makers[row.model.name, str(row.model.version)] for row in listed}
    facts = runs_by_id(client, list(dict.fromkeys([*here, *made_by.values()])))
    used = {run.run_id: run for run in filters.apply(facts.values(), partial(is_use_of, ref))}
    models = tuple(replace(row, run=used.get(made_by[row.model.key])) for row in listed)
    runs = with_models(client, [used[each] for each in here if each in used], list(client.experiments))
    more = list(dict.fromkeys(each for each in made_by.values() if each in used and each not in here))[:DRAWN]
    return _Filtered(
        history,
        runs,
        str(offset + RUNS) if len(history.run_ids) > offset + RUNS else None,
        models,
        len(found),
        with_models(client, [used[each] for each in more], list(client.experiments)),
    )


def _drawn(shown: _Filtered, centre: NodeId, rows: Sequence[VersionRow]) -> Graph:
    """The graph around the centre; models with an alias are before others."""
    runs = sorted((*shown.runs, *shown.drawn), key=lambda run: run.started.timestamp() if run.started else 0.0)
    if not runs:
        return _bare(rows[0]) if rows else Graph()
    known_by_alias = {model_node(row.model).id for row in shown.models if row.aliases}
    return build(reversed(runs)).around(centre, first=known_by_alias)


def _searched(
    client: RestClient, ref: DatasetRef, filters: Filter, token: str | None
) -> tuple[tuple[Run, ...], str | None]:
    """Runs by MLflow's search only, for a store without a database: all runs with an input are examined."""
    keep = partial(is_use_of, ref)
    runs, following = runs_page(client, client.experiments, ANY_INPUT, filters, keep=keep, token=token)
    return with_models(client, runs, list(client.experiments)), following


def _not_found(ref: DatasetRef) -> PageNotFound:
    return PageNotFound(f"No run that you may read has used {ref}.")


def _offset(token: str | None) -> int:
    """Where a page of runs begins. Raises InvalidPageToken rather than showing the first page."""
    if token is None:
        return 0
    if not (token.isascii() and token.isdigit() and len(token) < 9):
        raise InvalidPageToken("This is no mark of a page of runs, as the link to the next page has it.")
    return int(token)


def _model(client: RestClient, key: str) -> tuple[Model, str | None]:
    if found := _LOGGED.match(key):
        ids = list(client.experiments)
        models = client.search_logged_models(ids, f"model_id = '{found['id']}'", max_results=1)
        if models:
            return Model(models[0].name, None, models[0].model_id), models[0].source_run_id
    elif found := _MODEL.match(key):
        entity = client.get_model_version(found["name"], found["version"])
        return registered_model(entity), entity.run_id
    raise PageNotFound("There is no such model, or it is not yours to see.")


def _catalogue(client: RestClient) -> DatasetIndex | None:
    engine: Any = private.tracking_engine()
    return DatasetIndex(engine, client.experiments) if engine is not None else None


def _choices(runs: Iterable[Run], experiments: Mapping[str, str]) -> Choices:
    roles = dict.fromkeys([*ROLES, *(use.role for run in runs for use in run.uses)])
    named = {**experiments, **{run.experiment_id: run.experiment for run in runs}}
    return Choices(dict(sorted(named.items(), key=lambda item: item[1].lower())), tuple(roles))


def _datasets_of(runs: Iterable[Run], text: str) -> Iterable[Any]:
    from mlflow_dsver.lineage.views import DatasetRow

    found = list(runs)
    grouped: dict[DatasetRef, list[VersionRow]] = {}
    for row in version_rows(found):
        grouped.setdefault(row.use.dataset, []).append(row)
    for ref, rows in sorted(grouped.items(), key=lambda item: str(item[0])):
        if text.lower() in str(ref).lower():
            newest = rows[0]
            users = sum(any(use.dataset == ref for use in run.uses) for run in found)
            name = newest.use.dataset_name
            yield DatasetRow(ref, len(rows), users, newest.last_used, newest.use.version, name)


def _bare(row: VersionRow) -> Graph:
    """The graph of a version whose runs are all filtered out: itself and its dataset."""
    from mlflow_dsver.lineage.graph import Edge

    nodes: list[Node] = [dataset_node(row.use), version_node(row.use)]
    return Graph({node.id: node for node in nodes}, (Edge(nodes[0].id, nodes[1].id),))
