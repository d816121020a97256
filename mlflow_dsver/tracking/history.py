"""From a run to the versions it used, and from a version to the runs that used it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.refs import DatasetRef, check_role, parse
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import bounded, clients, record, recorded
from mlflow_dsver.tracking.resolving import RefLike, resolve
from mlflow_dsver.versions import DatasetVersion, Grade, Link, date_text

PAGE = 500
"""Runs or experiments asked for at a time."""

MAX_LINK_JSON = 32 << 20
"""Bytes of `dsver/R.json` from which on it is not read."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunUse:
    """A run that used a version in a role.

    run_name: may be empty. status: MLflow's word, such as FINISHED. started: None when MLflow does not know.
    """

    run_id: str
    run_name: str
    experiment_id: str
    status: str
    started: datetime | None
    role: str
    ref: DatasetRef
    grade: Grade

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field; the date in ISO 8601, UTC."""
        return {
            "run_id": self.run_id,
            "run_name": self.run_name,
            "experiment_id": self.experiment_id,
            "status": self.status,
            "started": date_text(self.started),
            "role": self.role,
            "reference": str(self.ref),
            "grade": str(self.grade),
        }


def inputs_of(run_id: str, *, tracking_uri: str | None = None) -> list[Link]:
    """The links of a run, sorted by role: whole where the artifact is there, else what params, tags and inputs say.

    tracking_uri: the store that has the run; None means MLflow's current one.
    Raises RunNotFound, and TrackingError when the run cannot be read.
    """
    client, until = clients.new_client(tracking_uri), bounded.deadline()
    run: Any = bounded.read_run(client, until, run_id)
    links = recorded.links_of(run)
    if not links:
        return []
    what = f"show the artifacts of run {run_id}"
    whole = bounded.within(client, until, what, lambda: _artifacts(client, run, list(links)))
    return [_agreed(run, link, whole.get(role)) for role, link in links.items()]


def runs_using(ref: RefLike, *, role: str | None = None) -> Iterator[RunUse]:
    """Runs that used a version, over all experiments that the user may see, newest first.

    The order holds within every 500 experiments, which are searched together.

    ref: with a version id, a tag or `latest`, that version; without a selector, every version of the dataset.
    role: only runs that used it in that role. Pages are fetched as they are needed.
    Raises the provider's errors when a tag cannot be resolved, and TrackingError.
    """
    if role is not None:
        check_role(role)
    target = ref.ref if isinstance(ref, DatasetVersion) else parse(ref)
    if target.selector is not None:
        target = resolve(ref).ref
    return _uses(clients.new_client(), target, role)


def _uses(client: MlflowClient, target: DatasetRef, role: str | None) -> Iterator[RunUse]:
    comparison = f"= '{target}'" if target.selector is not None else f"LIKE '{target}@%'"
    without_inputs = f"tags.`{record.ERROR_TAG}` LIKE '{record.NO_INPUTS}%'"
    for experiments in _experiments(client):
        seen = set()
        for condition in (f"dataset.name {comparison}", without_inputs):
            for run in _runs(client, experiments, condition):
                if run.info.run_id not in seen:
                    seen.add(run.info.run_id)
                    yield from _uses_in(run, target, role)


def _uses_in(run: Any, target: DatasetRef, role: str | None) -> Iterator[RunUse]:
    """What the run used of the target: the search found it by a pattern, in which `_` and `%` stand for anything."""
    links = recorded.links_of(run)
    uses = [(link.role, link.version.ref, link.grade) for link in links.values()]
    uses += [("", ref, Grade("D")) for ref in _roleless(run)]
    for used_as, ref, grade in uses:
        same = ref == target if target.selector is not None else ref.at(None) == target
        if same and role in (None, used_as):
            yield RunUse(
                run_id=run.info.run_id,
                run_name=run.info.run_name or "",
                experiment_id=run.info.experiment_id,
                status=run.info.status,
                started=datetime.fromtimestamp(run.info.start_time / 1000, UTC) if run.info.start_time else None,
                role=used_as,
                ref=ref,
                grade=grade,
            )


def _roleless(run: Any) -> Iterator[DatasetRef]:
    """Versions that were logged as inputs without a role, such as by `mlflow.log_input` alone."""
    for name, _, role in record.inputs_present(run):
        if role is None:
            try:
                yield parse(name)
            except InvalidReference:
                continue


def _experiments(client: MlflowClient) -> Iterator[list[str]]:
    """Ids of the experiments that the user may see, in pages."""
    for page in _pages(client, "list experiments", client.search_experiments):
        yield [experiment.experiment_id for experiment in page]


def _runs(client: MlflowClient, experiments: list[str], condition: str) -> Iterator[Any]:
    newest_first = ["attributes.start_time DESC"]
    search = partial(client.search_runs, experiments, condition, order_by=newest_first)
    for page in _pages(client, "search runs", search):
        yield from page


def _pages(client: MlflowClient, what: str, search: Callable[..., Any]) -> Iterator[Any]:
    """Pages of a search, until one is empty, has no mark of a next one, or the mark of the page before."""
    token: str | None = None
    while True:
        ask = partial(search, max_results=PAGE, page_token=token)
        page: Any = bounded.within(client, bounded.deadline(), what, ask)
        if page:
            yield page
        if not page or not page.token or page.token == token:
            return
        token = page.token


def _artifacts(client: MlflowClient, run: Any, roles: Iterable[str]) -> dict[str, Link]:
    """Role to link, of those whose artifact is there and can be read."""
    repository = clients.artifacts(client, run.info.artifact_uri)
    links = {}
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-") as folder:
        for role in roles:
            try:
                name = f"{record.FOLDER}/{record.json_name(role)}"
                path = Path(folder, "link.json")
                repository._download_file(name, str(path))  # one request, and no progress bar
                if path.stat().st_size > MAX_LINK_JSON:
                    raise ValueError(f"larger than {MAX_LINK_JSON} bytes")
                links[role] = Link.from_json(json.loads(path.read_bytes()))
            except (
                MlflowException,
                OSError,
                ValueError,
                TypeError,
                KeyError,
                AttributeError,
                RecursionError,
            ) as error:
                _logger.info("run %s: no artifact for its %s input: %s", run.info.run_id, role, one_line(error))
    return links


def _agreed(run: Any, link: Link, whole: Link | None) -> Link:
    """The whole link, if it is about what params, tags and inputs say; they are harder to change than a file."""
    if whole is None:
        return link
    same = whole.role == link.role and whole.version.ref == link.version.ref
    digests = {whole.version.content_digest, link.version.content_digest} - {None}
    if not same or len(digests) > 1:
        _logger.warning("run %s: the artifact of its %s input tells of %s", run.info.run_id, link.role, whole.version)
        return link
    return replace(whole, grade=link.grade)
