"""Searches for the runs that used a dataset version, however they were linked.

Our own records name the dataset input after the version, so MLflow finds those by name. Two kinds need more:

- A run linked in MLflow's own way (`mlflow.log_input` of a dataset whose source is a reference) has an input of any
  name, and MLflow cannot filter by source. So the names in use that are not ours are found first: by one query where
  the tracking store is a database that this process opens, else by MLflow's dataset summaries, one request for 20
  experiments. The runs with such an input are read, up to 1,000 in a request. In an experiment with more than 1,000
  datasets, of which a server does not list all names, every run with an input is read.
- A run whose record is incomplete (a server without dataset inputs, a write that failed) has a tag that says so.

The result is candidates: the caller reads the links of each run. Runs come newest first, pages are fetched as needed,
each request within MLFLOW_DSVER_TRACKING_TIMEOUT.
"""

from __future__ import annotations

import heapq
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from itertools import chain, repeat
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import DsverError, InvalidReference, TrackingError
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.record import schema
from mlflow_dsver.record.dataset_source import SOURCE_TYPE
from mlflow_dsver.record.mlflow_urls import dataset_filter
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients
from mlflow_dsver.tracking.clients import shown_address
from mlflow_dsver.tracking.mlflow_private import (
    MAX_SUMMARIES,
    MAX_SUMMARY_EXPERIMENTS,
    dataset_names,
    dataset_summaries,
    tracking_engine,
    workspace_names,
)

PAGE_SIZE = 1000
"""Rows that one request asks MLflow for, of whatever search: the most that MLflow gives."""

NAMES = 100
"""Names of datasets in one search at most; with more of them, all runs with an input are read."""

IDS = 200
"""Ids of runs in one search at most."""

LINKED = f"tags.`{schema.SCHEMA_TAG}` LIKE '%'"
"""MLflow's filter for runs that have a record of ours."""

_INCOMPLETE = f"tags.`{schema.ERROR_TAG}` LIKE '%'"
ANY_INPUT = "dataset.name LIKE '%'"
"""MLflow's filter for runs that have any dataset input."""
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_OUR_DIGEST = re.compile(r"[0-9a-f]{16}\Z")
_QUOTABLE = re.compile(r"[^'\"\\`%\x00-\x1f]{1,500}\Z")
_logger = logging.getLogger(__name__)


class RunSearch:
    """The runs of some experiments; each request about them is made once and cached.

    experiments: ids; None means all that the user may see. deleted: the deleted runs, and not those that are there.
    """

    def __init__(
        self, client: MlflowClient, experiments: Sequence[str] | None = None, *, deleted: bool = False
    ) -> None:
        self._client = client
        self._chosen = experiments
        self._view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY

    def using(self, ref: DatasetRef) -> Iterator[Any]:
        """Candidates for a version, or for any version of a dataset. Raises TrackingError."""
        return self._found((dataset_filter(ref), _INCOMPLETE), "")

    def linked(self, condition: str = "") -> Iterator[Any]:
        """Candidates for runs with any link. condition: an additional MLflow filter. Raises TrackingError."""
        return self._found((LINKED,), condition)

    def of_ids(self, run_ids: Iterable[str]) -> Iterator[Any]:
        """The runs of these ids, deleted or not as the search says, in no order. Raises TrackingError."""
        known = sorted(each for each in set(run_ids) if _RUN_ID.match(each))
        for start in range(0, len(known), IDS) if self._experiments else ():
            quoted = ", ".join(f"'{run_id}'" for run_id in known[start : start + IDS])
            yield from self._runs(self._experiments, f"attributes.run_id IN ({quoted})")

    @cached_property
    def _experiments(self) -> list[str]:
        return list(experiment_names(self._client) if self._chosen is None else self._chosen)

    @cached_property
    def _others(self) -> tuple[list[str], list[str]]:
        """Conditions for inputs that are no record of ours, and experiments in which every input must be read."""
        names, unknown = other_names(self._client, self._experiments)
        return _conditions(names), sorted(unknown)

    def _found(self, own: Sequence[str], condition: str) -> Iterator[Any]:
        """Runs that match any condition, or have an input of a name that is not ours: once each, newest first."""
        if not self._experiments:
            return
        conditions, unknown = self._others
        searches = [(some, each) for some in _batches(self._experiments) for each in (*own, *conditions)]
        searches += [(some, ANY_INPUT) for some in _batches(unknown)]
        streams = [self._runs(some, each, condition) for some, each in searches]
        seen: set[str] = set()
        for run in heapq.merge(*streams, key=lambda run: -(run.info.start_time or 0)):
            if run.info.run_id not in seen:
                seen.add(run.info.run_id)
                yield run

    def _runs(self, experiments: list[str], *conditions: str) -> Iterator[Any]:
        return search_runs(self._client, experiments, *conditions, view=self._view)


ALL_WORKSPACES = "*"
"""The argument `workspace` of a question about all workspaces that the user may read; no workspace has that name."""


def clients_in(workspace: str | None) -> list[MlflowClient]:
    """A client for each workspace that is meant.

    workspace: a name; None for the active one; `ALL_WORKSPACES` for all that the user may read, which is the active
    one where the server has no workspaces. Raises TrackingError, and SettingsError for a name on an old MLflow.
    """
    if workspace != ALL_WORKSPACES:
        return [clients.new_client(workspace=workspace)]
    client = clients.new_client()
    what = "list the workspaces"
    names = clients.within(client, clients.deadline(), what, partial(workspace_names, client))
    return [client] if names is None else [clients.new_client(workspace=name) for name in names]


class WorkspaceSearch:
    """The searches of `RunSearch` in one or more workspaces; each result is (workspace, run), newest run first.

    workspace: as for `clients_in`.
    """

    def __init__(self, workspace: str | None = None) -> None:
        self._searches = [(clients.workspace_of(client), RunSearch(client)) for client in clients_in(workspace)]

    def using(self, ref: DatasetRef) -> Iterator[tuple[str | None, Any]]:
        """See `RunSearch.using`."""
        return self._merged([(name, search.using(ref)) for name, search in self._searches])

    def linked(self) -> Iterator[tuple[str | None, Any]]:
        """See `RunSearch.linked`."""
        return self._merged([(name, search.linked()) for name, search in self._searches])

    @staticmethod
    def _merged(found: list[tuple[str | None, Iterator[Any]]]) -> Iterator[tuple[str | None, Any]]:
        streams = [zip(repeat(name), runs) for name, runs in found]
        return heapq.merge(*streams, key=lambda each: -(each[1].info.start_time or 0))


def experiment_names(client: MlflowClient) -> dict[str, str]:
    """Id to name of the experiments that the user may see. Raises TrackingError."""
    found: dict[str, str] = {}
    for page in pages(client, "list experiments", client.search_experiments):
        found.update((str(each.experiment_id), each.name) for each in page)
    return found


def search_runs(
    client: MlflowClient, experiment_ids: list[str], *conditions: str, view: str = ViewType.ACTIVE_ONLY
) -> Iterator[Any]:
    """Runs of these experiments that meet all conditions, newest first, fetched a page at a time.

    conditions: in MLflow's filter language; empty ones are left out. Raises TrackingError.
    """
    search = partial(
        client.search_runs,
        experiment_ids,
        " AND ".join(each for each in conditions if each),
        run_view_type=view,
        order_by=["attributes.start_time DESC"],
    )
    return chain.from_iterable(pages(client, "search runs", search))


def pages(client: MlflowClient, what: str, search: Callable[..., Any]) -> Iterator[Any]:
    """Pages of a search of a client, each request within MLFLOW_DSVER_TRACKING_TIMEOUT. Raises TrackingError."""

    def bounded(**page: Any) -> Any:
        return clients.within(client, clients.deadline(), what, partial(search, **page))

    try:
        yield from each_page(bounded)
    except RepeatedPage as error:
        raise TrackingError(
            f"MLflow at {shown_address(client.tracking_uri)} repeats a page when asked to {what}",
            done="Stopped: what comes after that page is not known",
        ) from error


def each_page(search: Callable[..., Any]) -> Iterator[Any]:
    """Pages of any search that takes `max_results` and `page_token`, up to the one that names no next page.

    Raises RepeatedPage when a page is named as its own next one: what follows would be left out.
    """
    token: str | None = None
    while True:
        page: Any = search(max_results=PAGE_SIZE, page_token=token)
        if page:
            yield page
        following = getattr(page, "token", None) or None
        if following is not None and following == token:
            raise RepeatedPage("MLflow names a page as its own next one")
        token = following
        if token is None:
            return


class RepeatedPage(MlflowException):  # type: ignore[misc]
    """A search of MLflow names a page as its own next one."""


def other_names(client: MlflowClient, experiments: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Names of datasets that are not a record of ours; and the experiments of which MLflow does not tell all names.

    A name is ours when it is a version's reference with a digest as we make them.
    """
    engine = tracking_engine(client)
    if engine is not None:
        what = "list datasets"
        rows = clients.within(client, clients.deadline(), what, partial(dataset_names, engine, SOURCE_TYPE))
        return frozenset(name for name, digest in rows if not _is_ours(name, digest)), frozenset()
    found: set[str] = set()
    unknown: set[str] = set()
    waiting = [
        list(experiments[start : start + MAX_SUMMARY_EXPERIMENTS])
        for start in range(0, len(experiments), MAX_SUMMARY_EXPERIMENTS)
    ]
    while waiting:
        some = waiting.pop()
        try:
            summaries = clients.within(
                client, clients.deadline(), "list datasets", partial(dataset_summaries, client, some)
            )
        except DsverError as error:
            _logger.info("dataset summaries: %s", one_line(error, 300))
            summaries = None
        if summaries is None:
            return frozenset(), frozenset(experiments)
        found.update(name for name, digest in summaries if not _is_ours(name, digest))
        if len(summaries) >= MAX_SUMMARIES:
            if len(some) == 1:
                unknown.update(some)
            else:
                waiting += [[each] for each in some]
    return frozenset(found), frozenset(unknown)


def _is_ours(name: str, digest: str) -> bool:
    try:
        return bool(_OUR_DIGEST.match(digest)) and parse(name).selector is not None
    except InvalidReference:
        return False


def _batches(experiments: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(experiments), PAGE_SIZE):
        yield list(experiments[start : start + PAGE_SIZE])


def _conditions(names: Iterable[str]) -> list[str]:
    known = sorted(names)
    if len(known) > NAMES or not all(map(_QUOTABLE.match, known)):
        return [ANY_INPUT]
    if len(known) < 2:  # one value in brackets is no list to older servers
        return [f"dataset.name = '{name}'" for name in known]
    quoted = ", ".join(f"'{name}'" for name in known)
    return [f"dataset.name IN ({quoted})"]
