"""From a run to the versions it used, and from a version to the runs that used it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import DsverError, InvalidReference, NotFound
from mlflow_dsver.model import json_values
from mlflow_dsver.model.refs import LATEST, DatasetRef, check_role, parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import reader, schema
from mlflow_dsver.record.facts import EvaluationDataset
from mlflow_dsver.record.recorded_elsewhere import Elsewhere, recorded_elsewhere
from mlflow_dsver.resolution.version_files import RefLike, resolve
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients
from mlflow_dsver.tracking.mlflow_private import artifact_repository, download_artifact
from mlflow_dsver.tracking.run_search import WorkspaceSearch

MAX_LINK_JSON = 32 << 20
"""A `dsver/R.json` of this many bytes or more is not read."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunUse:
    """A run that used a version in a role.

    run_name: may be empty. status: MLflow's run status, such as FINISHED. started: None when MLflow does not know.
    dataset_name: the dataset's name as recorded, where the reference has an id; None elsewhere.
    workspace: the one that has the run; None where none is active and none was asked for.
    """

    run_id: str
    run_name: str
    experiment_id: str
    status: str
    started: datetime | None
    role: str
    ref: DatasetRef = field(metadata={"json": "reference"})
    dataset_name: str | None = field(default=None, kw_only=True)
    grade: Grade
    workspace: str | None = field(default=None, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field, `workspace` only if there is one; the date in ISO 8601, UTC."""
        data = json_values.to_json(self)
        return {name: value for name, value in data.items() if name != "workspace" or value is not None}


def inputs_of(run_id: str, *, tracking_uri: str | None = None) -> list[Link]:
    """The links of a run, sorted by role: whole where the artifact is there, else what params, tags and inputs say.

    After them the versions that MLflow's own sources and other tools recorded exactly, where a provider understands
    these, with the grade D.
    tracking_uri: the store that has the run; None means MLflow's current one.
    Raises RunNotFound, and TrackingError when the run cannot be read.
    """
    client = clients.new_client(tracking_uri)
    run = clients.read_run(client, clients.deadline(), run_id)
    links = inputs_in(client, run)
    return [*links, *_elsewhere(run, links).links]


def links_of(run_id: str, *, tracking_uri: str | None = None) -> list[Link]:
    """The links of a run, as `inputs_of`, and nothing that was recorded by others."""
    client = clients.new_client(tracking_uri)
    return inputs_in(client, clients.read_run(client, clients.deadline(), run_id))


def _elsewhere(run: Any, links: list[Link]) -> Elsewhere:
    return recorded_elsewhere(run, {link.role: link for link in links})


class RunInputs(NamedTuple):
    """The inputs of a run. links: as `inputs_of`. files_read: what it says of the files that its process read.

    evaluation_datasets, inexact: inputs that are no versions; see `recorded_elsewhere.Elsewhere`. files_read is None
    if none were watched.
    """

    links: list[Link]
    evaluation_datasets: tuple[EvaluationDataset, ...]
    inexact: list[str]
    files_read: str | None


def all_inputs_of(run_id: str) -> RunInputs:
    """Everything that a run used. Raises RunNotFound, and TrackingError when the run cannot be read."""
    client = clients.new_client()
    run: Any = clients.read_run(client, clients.deadline(), run_id)
    links = inputs_in(client, run)
    others = _elsewhere(run, links)
    files_read = run.data.tags.get(schema.FILES_READ_TAG)
    return RunInputs([*links, *others.links], reader.evaluation_datasets_of(run), others.inexact, files_read)


def inputs_in(client: MlflowClient, run: Any) -> list[Link]:
    """The links of a run entity already read; see `inputs_of`. run: MLflow's entity. Raises TrackingError."""
    links, until = reader.all_links_of(run), clients.deadline()
    if not links:
        return []
    ours = [role for role in links if reader.version_text(run, role) is not None]
    what = f"show the artifacts of run {run.info.run_id}"
    whole = clients.within(client, until, what, lambda: _artifacts(client, run, ours))
    return [_agreed(run, link, whole.get(role)) for role, link in links.items()]


class RunsFound(Iterator[RunUse]):
    """Uses of a version, newest run first; an iterator that fetches pages as needed.

    note: how they were found where that is not by the version itself, in one sentence; None otherwise.
    """

    def __init__(self, uses: Iterable[RunUse], note: str | None = None) -> None:
        self._uses = iter(uses)
        self.note = note

    def __next__(self) -> RunUse:
        return next(self._uses)


def runs_using(ref: RefLike, *, role: str | None = None, workspace: str | None = None) -> RunsFound:
    """Runs that used a version, over all experiments that the user may see, newest first, however they were linked.

    ref: with a version id, a tag or `latest`, that version; without a selector, every version of the dataset.
    role: only runs that used it in that role. workspace: the one to look in, or "*" for all that the user may read;
    None is the active one. What MLflow has under these very words needs no provider. Else the
    provider says what they mean; where it cannot, the runs count whose record says that they asked for the same
    words, or that the dataset has that name, and `note` says so. For the cost, see `tracking.run_search`.
    Raises the provider's errors when there is no such run either, and TrackingError.
    """
    if role is not None:
        check_role(role)
    target = ref.ref if isinstance(ref, DatasetVersion) else parse(ref)
    search = WorkspaceSearch(workspace)
    searched: DatasetRef | None = None
    if not isinstance(ref, DatasetVersion) and target.selector != LATEST:
        searched = target
        found = _uses(search.using(target), partial(_is_of, target), role)
        first = next(found, None)
        if first is not None:
            return RunsFound(chain([first], found))
    try:
        meant = resolve(ref).ref
    except DsverError as error:
        found = _uses(search.linked(), partial(_says, target), role)
        first = next(found, None)
        if first is not None:
            return RunsFound(chain([first], found), _as_recorded(target, error))
        if target.selector is None and isinstance(error, NotFound):
            return RunsFound(())
        raise
    if target.selector is None:
        meant = meant.at(None)
    return RunsFound(_uses(search.using(meant), partial(_is_of, meant), role) if meant != searched else ())


def recorded_uses(ref: DatasetRef) -> Iterator[RunUse]:
    """Uses of a version, or without a selector of all versions of a dataset, from MLflow alone; newest run first.

    No provider is queried, so the reference must be canonical. Raises TrackingError.
    """
    return _uses(WorkspaceSearch().using(ref), partial(_is_of, ref), None)


def _is_of(target: DatasetRef, link: Link) -> bool:
    ref = link.version.ref
    return ref == target if target.selector is not None else ref.at(None) == target


def _says(target: DatasetRef, link: Link) -> bool:
    """Whether a record has this requested reference, or this dataset name."""
    named = link.version.dataset_name is not None and link.version.dataset_name == target.dataset
    if named and link.version.ref.provider == target.provider and target.selector in (None, link.version.id):
        return True
    try:
        asked = parse(link.requested)
    except InvalidReference:
        return False
    same = target.selector is None or (asked.selector or LATEST) == target.selector
    return same and asked.at(None) == target.at(None)


def _as_recorded(target: DatasetRef, error: DsverError) -> str:
    what = "this dataset" if target.selector is None else f"{one_line(target, 400)}"
    return (
        f"{target.provider} could not say what {what} is ({one_line(error, 300)}); "
        "these runs say that they asked for it"
    )


def _uses(
    runs: Iterable[tuple[str | None, Any]], matches: Callable[[Link], bool], role: str | None
) -> Iterator[RunUse]:
    """What the runs used of what is wanted: a search finds too much, as in a pattern `_` and `%` are anything."""
    for workspace, run in runs:
        started = run.info.start_time
        for used_as, link in reader.all_links_of(run).items():
            if matches(link) and (role is None or reader.is_role(used_as, role, run)):
                yield RunUse(
                    run_id=run.info.run_id,
                    run_name=run.info.run_name or "",
                    experiment_id=run.info.experiment_id,
                    status=run.info.status,
                    started=datetime.fromtimestamp(started / 1000, UTC) if started else None,
                    role=used_as,
                    ref=link.version.ref,
                    grade=link.grade,
                    dataset_name=link.version.dataset_name,
                    workspace=workspace,
                )


def _artifacts(client: MlflowClient, run: Any, roles: Iterable[str]) -> dict[str, Link]:
    """Role to link, of those whose artifact is there and can be read."""
    repository = artifact_repository(client, run.info.artifact_uri)
    links = {}
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-") as folder:
        for role in roles:
            try:
                name = f"{schema.FOLDER}/{schema.json_name(role)}"
                path = Path(folder, "link.json")
                download_artifact(repository, name, path)
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


def _agreed(run: Any, link: Link, from_artifact: Link | None) -> Link:
    """The link from the artifact, if it agrees with params, tags and inputs: they are harder to change."""
    if from_artifact is None:
        return link
    same = from_artifact.role == link.role and from_artifact.version.ref == link.version.ref
    digests = {from_artifact.version.content_digest, link.version.content_digest} - {None}
    if not same or len(digests) > 1:
        _logger.warning(
            "run %s: the artifact of its %s input tells of %s", run.info.run_id, link.role, from_artifact.version
        )
        return link
    return replace(from_artifact, grade=link.grade)
