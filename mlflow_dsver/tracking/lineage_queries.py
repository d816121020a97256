"""Reads lineage from a tracking store: runs as values, page by page, with the models that they made.

A `Reader` is anything with MLflow's search calls: `MlflowClient` for scripts and the command line, and on a server
`server.rest_client.RestClient`, which sees what MLflow shows the user. Everything is a search of MLflow, a page at
a time; nothing here reads a whole store.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import Any, Protocol

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import EVERYTHING, Filter, Model, ModelOrigin, Run, Use
from mlflow_dsver.record.mlflow_urls import dataset_filter
from mlflow_dsver.record.reader import run_of
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.clients import workspace_of
from mlflow_dsver.tracking.mlflow_private import in_workspace
from mlflow_dsver.tracking.queries import Tracking, origins
from mlflow_dsver.tracking.run_search import RunSearch, each_page

PAGE = 50
"""Runs on one of our pages."""
MOST_PAGES = 8
"""Pages requested from MLflow at most to fill one of ours, when our filter drops results."""

_LOGGED_SOURCE = re.compile(r"models:/(m-[0-9a-f]+)\Z")
_logger = logging.getLogger(__name__)


class Reader(Protocol):
    """The part of `MlflowClient` that lineage needs."""

    def search_experiments(self, *, max_results: int, page_token: str | None = None) -> Any:
        """Active experiments, a page of them."""

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        *,
        max_results: int,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        """Active runs, a page of them."""

    def get_run(self, run_id: str) -> Any:
        """One run."""

    def search_model_versions(self, filter_string: str, *, max_results: int, page_token: str | None = None) -> Any:
        """Versions of registered models, a page of them."""


def every(search: Callable[..., Any], *what: Any) -> Iterator[Any]:
    """All results of a search, page by page. Raises MlflowException."""
    return chain.from_iterable(each_page(partial(search, *what)))


def experiments(reader: Reader) -> dict[str, str]:
    """Id to name of all active experiments that the reader may see."""
    return {str(each.experiment_id): each.name for each in every(reader.search_experiments)}


def run_in(run: Any, names: Mapping[str, str], models: Sequence[Model] = ()) -> Run:
    """MLflow's run entity as a value. names: experiment id to name."""
    return run_of(run, names.get(str(run.info.experiment_id), ""), models)


def runs_page(
    reader: Reader,
    names: Mapping[str, str],
    text: str,
    wanted: Filter = EVERYTHING,
    *,
    keep: Callable[[Use], bool] = lambda use: True,
    token: str | None = None,
    size: int = PAGE,
) -> tuple[tuple[Run, ...], str | None]:
    """Runs that match MLflow's filter text and ours, newest first, without models; and the next page's token.

    names: the experiments to look in, id to name. keep: uses that count; a run without any is left out. A page may
    be shorter than `size` although there is a next one. One that asks MLflow is never cut, so it may be longer too.
    """
    ids = [wanted.experiment] if wanted.experiment else list(names)
    ids = [each for each in ids if each in names]
    found: list[Run] = []
    for _ in range(MOST_PAGES):
        if not ids:
            return (), None
        page = reader.search_runs(
            ids,
            " AND ".join(part for part in (text, _conditions(wanted)) if part),
            max_results=size,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        found += wanted.apply((run_in(run, names) for run in page), keep)
        token = page.token or None
        if token is None or len(found) >= size:
            break
    return tuple(found), token


def runs_of(
    reader: Reader, names: Mapping[str, str], ref: DatasetRef, wanted: Filter = EVERYTHING, token: str | None = None
) -> tuple[tuple[Run, ...], str | None]:
    """A page of the runs that used a version, or any version of a dataset; each with those uses alone, no models."""

    return runs_page(reader, names, dataset_filter(ref), wanted, keep=partial(is_use_of, ref), token=token)


def all_runs(
    client: MlflowClient, names: Mapping[str, str], limit: int, wanted: Filter = EVERYTHING
) -> Iterator[Run]:
    """Linked runs of these experiments with their models, newest first, `limit` at most. Raises TrackingError."""
    chosen = [each for each in names if wanted.experiment in (None, "", each)]
    found = RunSearch(client, chosen).linked(_conditions(wanted))
    runs = islice(wanted.apply(run_in(run, names) for run in found), limit)
    workspace = workspace_of(client)
    while some := list(islice(runs, 500)):
        with in_workspace(workspace):
            found_runs = with_models(client, some, list(names))
        yield from (_of_workspace(run, workspace) for run in found_runs)


def _of_workspace(run: Run, workspace: str | None) -> Run:
    """The run with its workspace, and that of its models, whose names are unique in one alone."""
    if workspace is None:
        return run
    models = tuple(replace(model, workspace=workspace) for model in run.models)
    return replace(run, workspace=workspace, models=models)


def runs_of_version(
    client: MlflowClient, names: Mapping[str, str], ref: DatasetRef, *, deleted: bool = False
) -> Iterator[Run]:
    """All runs that used a version or any version of a dataset, with those uses alone and without models.

    However they were linked, newest first. deleted: the deleted runs, and no others. Raises TrackingError.
    """
    found = RunSearch(client, list(names), deleted=deleted).using(ref)
    return EVERYTHING.apply((run_in(run, names) for run in found), partial(is_use_of, ref))


def models_without_run(client: MlflowClient, names: Mapping[str, str], runs: Iterable[Run]) -> Iterator[ModelOrigin]:
    """Registered models whose data is known and whose run is deleted or missing.

    names: all experiments. runs: some that are there. Raises TrackingError.
    """
    models = list(Tracking(workspace=workspace_of(client)).model_versions())
    here = {run.run_id for run in runs}
    others = {model.run_id for model in models if model.run_id and model.run_id not in here}
    here |= {run.info.run_id for run in RunSearch(client, list(names)).of_ids(others)}
    gone = map(partial(run_in, names=names), RunSearch(client, list(names), deleted=True).of_ids(others - here))
    used = {run.run_id: {use.role: use.version for use in run.uses} for run in gone}
    run_of = {(model.name, model.version): model.run_id for model in models}
    for key, made_from in sorted(origins(models, used).items()):
        if run_of[key] not in here:
            yield ModelOrigin(Model(*key, workspace=workspace_of(client)), tuple(sorted(made_from.items())))


def is_use_of(ref: DatasetRef, use: Use) -> bool:
    """Whether a use is of a version, or of any version of a dataset where the reference names none."""
    return use.version == ref or (ref.selector is None and use.dataset == ref)


def with_models(reader: Reader, runs: Sequence[Run], experiment_ids: Sequence[str]) -> tuple[Run, ...]:
    """The runs, each with the models that it made: registered versions, and logged models that are not registered."""
    if not runs:
        return ()
    made: dict[str, list[Model]] = {run.run_id: [] for run in runs}
    for some in _batches([run.run_id for run in runs]):
        condition = "IN (" + ", ".join(f"'{run_id}'" for run_id in some if run_id.isalnum()) + ")"
        for run_id, model in (*_registered(reader, condition), *_logged(reader, condition, experiment_ids)):
            if run_id in made and not _is_known(model, made[run_id]):
                made[run_id].append(model)
    return tuple(replace(run, models=tuple(made[run.run_id])) for run in runs)


def _registered(reader: Reader, condition: str) -> Iterator[tuple[str, Model]]:
    try:
        found = list(every(reader.search_model_versions, f"run_id {condition}"))
    except MlflowException as error:
        _logger.info("registered models could not be searched: %s", one_line(error))
        return
    for each in found:
        yield each.run_id, registered_model(each)


def registered_model(version: Any) -> Model:
    """MLflow's model version, with the id of the logged model that it was registered from, if any."""
    source = _LOGGED_SOURCE.match(version.source or "")
    model_id = getattr(version, "model_id", None) or (source[1] if source else None)
    return Model(version.name, str(version.version), model_id)


def _logged(reader: Any, condition: str, experiment_ids: Sequence[str]) -> Iterator[tuple[str, Model]]:
    search = getattr(reader, "search_logged_models", None)
    if search is None:  # MLflow 2 has none
        return
    try:
        found = list(every(search, list(experiment_ids), f"source_run_id {condition}"))
    except MlflowException as error:
        _logger.info("logged models could not be searched: %s", one_line(error))
        return
    for each in found:
        yield each.source_run_id, Model(each.name, None, each.model_id)


def _is_known(model: Model, models: Iterable[Model]) -> bool:
    return any(model.key == each.key or (model.model_id and model.model_id == each.model_id) for each in models)


def _conditions(wanted: Filter) -> str:
    """The part of our filter that MLflow can evaluate; `Filter.apply` does the rest."""
    parts = []
    if wanted.since:
        parts.append(f"attributes.start_time >= {int(wanted.since.timestamp() * 1000)}")
    if wanted.until:
        parts.append(f"attributes.start_time < {int(wanted.until.timestamp() * 1000)}")
    if wanted.verdict and wanted.verdict != "none" and wanted.verdict.isalpha():
        parts.append(f"tags.`dsver.verdict` LIKE '{wanted.verdict}%'")
    return " AND ".join(parts)


def _batches(run_ids: list[str], size: int = 100) -> Iterator[list[str]]:
    for start in range(0, len(run_ids), size):
        yield run_ids[start : start + size]
