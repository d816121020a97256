"""Queries of MLflow for checks and pages: runs as values, the files of a record, tags written to ended runs.

Nothing here judges what it reads. Each request is bounded in time; MLflow's own retries cannot hold the caller.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import NotFound, TrackingError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import Run, version_of
from mlflow_dsver.record.reader import run_of
from mlflow_dsver.record.schema import role_of_key
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients
from mlflow_dsver.tracking.clients import deadline, read_run, within
from mlflow_dsver.tracking.mlflow_private import artifact_repository, download_artifact, is_unanswered, is_unsupported
from mlflow_dsver.tracking.record_writer import put_tags
from mlflow_dsver.tracking.run_search import RunSearch, experiment_names, pages, search_runs

MAX_FILE = 1 << 30
"""Bytes of one file of a record at most, and of all files of a run's record that are read at a time."""
MAX_RECORD_FILES = 1_000
"""Files of one run's record that are read at most."""


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model.

    run_id: the run it came from; None when MLflow does not know it. source: where its files came from, such as
    `models:/name/3` of a copy. tags: as they are on this version.
    """

    name: str
    version: str
    run_id: str | None
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


class Tracking:
    """MLflow at a tracking address, by default the current one; experiment names are requested once.

    workspace: None is the active one.
    """

    def __init__(self, tracking_uri: str | None = None, workspace: str | None = None) -> None:
        self._client = clients.new_client(tracking_uri, workspace)
        self._experiments: dict[str, str] = {}

    @property
    def address(self) -> str:
        """The tracking address as configured; it may contain a password."""
        return str(self._client.tracking_uri)

    def run(self, run_id: str) -> Run:
        """One run. Raises RunNotFound, TrackingError."""
        return self.facts(read_run(self._client, deadline(), run_id))

    def facts(self, run: Any) -> Run:
        """MLflow's run entity as plain values. Raises TrackingError when its experiment cannot be named."""
        return run_of(run, self._experiment_name(run.info.experiment_id))

    def runs(
        self, *, experiments: Sequence[str] = (), filter_text: str | None = None, since: datetime | None = None
    ) -> Iterator[Run]:
        """Runs that are not deleted, newest first, a page at a time.

        experiments: names or ids; none means all. filter_text: in MLflow's filter syntax. since: begun then or later.
        Raises NotFound for an experiment that does not exist, TrackingError for a filter that MLflow refuses.
        """
        ids = [self._experiment_id(name) for name in experiments] or self._all_experiments()
        if not ids:
            return
        for run in search_runs(self._client, ids, filter_text or "", _begun(since)):
            yield self.facts(run)

    def linked_runs(self, *, since: datetime | None = None) -> Iterator[Run]:
        """Runs with any link, however it was made, newest first; see `run_search`. since: begun then or later.

        Raises TrackingError.
        """
        search = RunSearch(self._client, self._all_experiments())
        return filter(_is_linked, map(self.facts, search.linked(_begun(since))))

    def deleted_runs(self, run_ids: Iterable[str]) -> Iterator[Run]:
        """Those of these runs that are deleted and can still be read, as far as they have a link.

        Raises TrackingError.
        """
        search = RunSearch(self._client, self._all_experiments(), deleted=True)
        return filter(_is_linked, map(self.facts, search.of_ids(run_ids)))

    def record_files(self, run: Run, *, manifests: bool = True) -> dict[str, bytes]:
        """The files of the record by their name in the folder `dsver`; those that do not exist are left out.

        manifests: False leaves them out as well, since they may be large. Raises TrackingError, also for more files
        or bytes than are read of one run, before these are fetched where the store tells how large they are.
        """
        wanted = (".json", ".jsonl.gz") if manifests else (".json",)

        def work() -> dict[str, bytes]:
            repository = artifact_repository(self._client, run.artifact_uri)
            with tempfile.TemporaryDirectory(prefix="mlflow-dsver-") as scratch:
                found: dict[str, bytes] = {}
                infos = repository.list_artifacts(schema.FOLDER) or []
                sizes = {each.path.rpartition("/")[2]: each.file_size or 0 for each in infos if not each.is_dir}
                listed = {name: size for name, size in sizes.items() if name.endswith(wanted)}
                _check_size(listed)
                for name in listed:
                    found[name] = _content(repository, f"{schema.FOLDER}/{name}", scratch)
                    _check_size({each: len(content) for each, content in found.items()})
                return found

        return within(self._client, deadline(), f"give the record of run {one_line(run.run_id, 60)}", work)

    def environment_files(self, run: Run) -> dict[str, bytes]:
        """requirements.txt, conda.yaml, python_env.yaml and MLproject among the run's artifacts, by their path."""
        wanted = ("requirements.txt", "conda.yaml", "python_env.yaml", "MLproject")

        def work() -> dict[str, bytes]:
            repository = artifact_repository(self._client, run.artifact_uri)
            folders = ["", *(name for name in _names(repository, "", folders=True) if name != schema.FOLDER)]
            found = {}
            with tempfile.TemporaryDirectory(prefix="mlflow-dsver-") as scratch:
                for folder in folders[:50]:
                    for name in _names(repository, folder):
                        if name in wanted:
                            path = f"{folder}/{name}" if folder else name
                            found[path] = _content(repository, path, scratch)
            return found

        return within(self._client, deadline(), f"give the files of run {one_line(run.run_id, 60)}", work)

    def write_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run, ended or not, in one request. Raises TrackingError."""
        texts = {key: one_line(value, schema.VALUE_LIMIT) for key, value in tags.items()}
        within(
            self._client,
            deadline(),
            f"write tags to run {one_line(run_id, 60)}",
            lambda: put_tags(self._client, run_id, texts),
        )

    def model_versions(self) -> Iterator[ModelVersion]:
        """All versions of all registered models, a page at a time; none where there is no registry."""
        try:
            for page in pages(self._client, "list models", self._client.search_model_versions):
                for each in page:
                    yield ModelVersion(
                        each.name, str(each.version), each.run_id or None, each.source or "", dict(each.tags or {})
                    )
        except TrackingError as error:
            if is_unsupported(error.__cause__):
                return
            raise

    def aliased_version(self, name: str, alias: str) -> str:
        """The version of a registered model that has an alias. Raises NotFound, TrackingError."""

        def work() -> str | None:
            try:
                return str(self._client.get_model_version_by_alias(name, alias).version)
            except MlflowException as error:
                if is_unanswered(error):
                    raise
                return None

        found = within(self._client, deadline(), f"find the alias {one_line(alias, 60)}", work)
        if found is None:
            raise NotFound(f"the model {one_line(name, 80)} has no alias {one_line(alias, 80)}")
        return found

    def _experiment_id(self, name: str) -> str:
        def work() -> Any:
            found = self._client.get_experiment_by_name(name)
            if found is None and name.isdigit():
                try:
                    found = self._client.get_experiment(name)
                except MlflowException:
                    found = None
            return found

        found = within(self._client, deadline(), f"find experiment {one_line(name, 60)}", work)
        if found is None:
            raise NotFound(
                f"no experiment {one_line(name, 60)!r}", tip="`mlflow experiments search` lists those there are"
            )
        self._experiments[found.experiment_id] = found.name
        return str(found.experiment_id)

    def _all_experiments(self) -> list[str]:
        found = experiment_names(self._client)
        self._experiments.update(found)
        return list(found)

    def _experiment_name(self, experiment_id: str) -> str:
        if experiment_id not in self._experiments:
            found = within(
                self._client,
                deadline(),
                f"show experiment {one_line(experiment_id, 60)}",
                lambda: self._client.get_experiment(experiment_id),
            )
            self._experiments[experiment_id] = found.name
        return self._experiments[experiment_id]


def _begun(since: datetime | None) -> str:
    return "" if since is None else f"attributes.start_time >= {int(since.timestamp() * 1000)}"


def _is_linked(run: Run) -> bool:
    return bool(run.sources) or schema.SCHEMA_TAG in run.tags


def _names(repository: Any, folder: str, *, folders: bool = False) -> list[str]:
    """Names right below an artifact folder; [] when there is no such folder."""
    infos = repository.list_artifacts(folder or None)
    return [info.path.rsplit("/", 1)[-1] for info in infos or [] if bool(info.is_dir) is folders]


def _check_size(sizes: Mapping[str, int]) -> None:
    """Raise TrackingError when these files of one run's record (name to bytes) are more than is read."""
    if len(sizes) > MAX_RECORD_FILES:
        raise TrackingError(f"the record has more than {MAX_RECORD_FILES:,} files, which is more than is read")
    if sum(sizes.values()) > MAX_FILE:
        largest = max(sizes, key=lambda name: sizes[name])
        raise TrackingError(
            f"the record has more than {MAX_FILE:,} bytes, which is more than is read", got=f"{largest} and others"
        )


def _content(repository: Any, path: str, scratch: str) -> bytes:
    local = Path(scratch, "file")
    download_artifact(repository, path, local)
    if local.stat().st_size > MAX_FILE:
        raise TrackingError(f"the artifact {one_line(path, 200)} is larger than {MAX_FILE} bytes")
    return local.read_bytes()


# Which dataset versions a registered model was made from: by its tags (`dsver.ROLE.version`), else by its run, which
# may be deleted and still readable, else by the model version that it was copied from. MLflow has no search for a
# part of a tag's key, so all versions of all models are read.


Origins = Mapping[str, DatasetRef]
"""Role to the version that was used in it."""

_COPY = re.compile(r"models:/(?P<name>.+)/(?P<version>[0-9]{1,18})\Z")


def tagged(tags: Mapping[str, str]) -> Origins:
    """Role to dataset version from the tags of a model version; {} if there are none."""
    found = {}
    for key, value in sorted(tags.items()):
        role, ref = role_of_key(key), version_of(value)
        if role and ref is not None:
            found[role] = ref
    return found


def origins(models: Iterable[ModelVersion], runs: Mapping[str, Origins]) -> dict[tuple[str, str], Origins]:
    """Name and version of each model to what it was made from; those of which nothing is known are left out.

    runs: run id to what it used, of the runs that can still be read.
    """
    known = {(model.name, model.version): model for model in models}
    found = {}
    for key, model in known.items():
        seen = {key}
        here: ModelVersion | None = model
        while here is not None:
            made_from = tagged(here.tags) or (runs.get(here.run_id) if here.run_id else None)
            if made_from:
                found[key] = made_from
                break
            copied = _COPY.match(here.source)
            place = (copied["name"], copied["version"]) if copied else None
            here = known.get(place) if place is not None and place not in seen else None
            seen |= {place} if place is not None else set()
    return found
