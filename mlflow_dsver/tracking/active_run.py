"""The run object of a training script and its datasets, and starting a run with a bounded wait for the server.

MLflow starts a run in the caller's thread, where it cannot be stopped, and was measured to retry a dead server for
246 seconds. So this one call gets short HTTP timeouts (`mlflow_private`) and is repeated until
MLFLOW_DSVER_TRACKING_TIMEOUT is over. No request is made beside MLflow's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import mlflow
from mlflow import ActiveRun, MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.providers.values import TableKind
from mlflow_dsver.record import schema
from mlflow_dsver.resolution.version_files import path_of
from mlflow_dsver.tracking import autolog_patch, clients, mlflow_private, opened_files
from mlflow_dsver.tracking.async_logging import TAG_TIMEOUT, RecordedElsewhere, Recording
from mlflow_dsver.tracking.autolog_patch import suppress_autolink
from mlflow_dsver.tracking.dataset import VersionedDataset
from mlflow_dsver.tracking.mlflow_private import short_http_timeouts
from mlflow_dsver.tracking.run_hooks import run_is_ending

PAUSE = 1.0
"""Seconds between two attempts to start a run on a server that does not answer."""


@dataclass(frozen=True, slots=True)
class LinkedDataset:
    """A dataset version in a role of a run; prints as its canonical reference, and is is path-like (`os.PathLike`).

    role: what the run uses it for. requested: the reference as written.
    made: the link; None when the reference could not be resolved and the policy was to go on.
    unresolved: why not. recording: the link on its way to the run; None when it does not go there.
    Where there is no link, everything that needs it raises `error`. It can be pickled, and has path, version and the
    rest in the other process as well.
    """

    role: str
    requested: str
    made: Link | None
    unresolved: DsverError | None = field(default=None, compare=False)
    recording: Recording | RecordedElsewhere | None = field(default=None, compare=False, repr=False)

    @property
    def error(self) -> DsverError | None:
        """What went wrong and was passed over, in resolving or, as far as is known, in recording."""
        return self.unresolved or (self.recording.failure if self.recording is not None else None)

    @property
    def link(self) -> Link:
        """The link. Raises the error that kept it from being made."""
        if self.made is None:
            raise self.error or DsverError("not linked", reference=self.requested)
        return self.made

    @property
    def version(self) -> DatasetVersion:
        """The version that the reference was resolved to."""
        return self.link.version

    @property
    def ref(self) -> DatasetRef:
        """The version's canonical reference."""
        return self.version.ref

    @property
    def grade(self) -> Grade:
        """How much the link proves."""
        return self.link.grade

    @property
    def dataset(self) -> VersionedDataset:
        """As MLflow's kind of dataset, such as `mlflow.log_metric(…, dataset=…)` wants.

        It is an input of the run by then: this waits until it is recorded. Raises TrackingError when it cannot be.
        """
        link = self.link
        digests = self.recording.digests() if self.recording is not None else {}
        digest = digests.get(self.role) or schema.digest(link.version)
        return VersionedDataset(link.version, requested=link.requested, grade=link.grade, digest=digest)

    def path(self) -> Path:
        """A folder that holds exactly the version's files, fetched and checked when needed; not to be written to.

        Where their content digest was not known when the run started, as with an export that is fetched only now, it
        is put on the run when that ends. Raises CorruptObject when the bytes are not those of the version, and the
        provider's errors.
        """
        folder = path_of(self.version)
        autolog_patch.watch_ends()
        if self.version.content_digest is None and isinstance(self.recording, Recording):
            self.recording.note_loaded_files(self.role, self.version)
        return folder

    def open(self, path: str) -> BinaryIO:
        """One file of the version, open for reading; from object storage it is streamed and nothing is kept.

        path: as in the manifest. Seekable, so that pandas, PyArrow and Pillow can read it. Raises NotFound when the
        version has no such file, and the provider's errors.
        """
        return get_provider(self.version.ref.provider).open(self.version, path)

    @property
    def revision(self) -> str:
        """What the store's own tools call this version, such as the commit that `load_dataset(revision=…)` takes."""
        return get_provider(self.version.ref.provider).revision(self.version)

    def table(self, kind: TableKind = "pandas") -> Any:
        """The version as a table: a DataFrame of pandas, Polars or Spark, or a `pyarrow.Table`.

        Raises Unsupported for a provider whose versions are no tables, SettingsError when the library is not
        installed, and the provider's errors.
        """
        return get_provider(self.version.ref.provider).table(self.version, kind)

    def load(self) -> str:
        """The same folder as text, as MLflow's own sources give it."""
        return str(self.path())

    def __str__(self) -> str:
        return self.requested if self.made is None else str(self.made.version.ref)

    def __fspath__(self) -> str:
        return self.load()


class LinkedRun(ActiveRun):  # type: ignore[misc]
    """MLflow's active run, with `datasets`: role to what is linked. Works in `with` and without, as MLflow's does.

    The links are written in the background; `inputs` and `data` wait until they are there, and so does
    the end of the `with` block, each within MLFLOW_DSVER_TRACKING_TIMEOUT seconds of the start.
    """

    def __init__(
        self,
        run: Any,
        datasets: Mapping[str, LinkedDataset],
        recording: Recording | RecordedElsewhere | None = None,
    ) -> None:
        super().__init__(run)
        mlflow_private.set_inputs(self, run.inputs)  # which MLflow 2.22 leaves out of an active run
        self.datasets = dict(datasets)
        self._recording = recording

    @property
    def inputs(self) -> Any:
        """MLflow's inputs of the run, ours included; as it was when it started where they cannot be recorded."""
        shown = self._recorded()
        return super().inputs if shown is self else shown.inputs

    @property
    def data(self) -> Any:
        """MLflow's params, tags and metrics, ours included; as when it started where they cannot be recorded."""
        shown = self._recorded()
        return super().data if shown is self else shown.data

    def __getstate__(self) -> dict[str, Any]:
        """For another process: the run as on the server, as far as known without waiting."""
        known = self._recorded() if self._recording is None or self._recording.over else self
        return mlflow_private.state_of(self, known)

    def _recorded(self) -> Any:
        if self._recording is not None:
            with suppress(DsverError):
                written = self._recording.result()
                return self if written is None else written.run
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            if self._recording is not None:
                self._recording.settle()
            if self.datasets or opened_files.is_installed():
                run_is_ending(self.info.run_id)
        except BaseException:  # Ctrl-C while this waited: MLflow still has to end the run
            with suppress_autolink():
                super().__exit__(kind, error, trace)
            raise
        with suppress_autolink():
            return bool(super().__exit__(kind, error, trace))


def start_with_retry(client: MlflowClient, start: Callable[[], Any], until: Deadline) -> Any:
    """Start a run: at once, or as soon as the server answers. Raises TrackingError when it does not in time."""
    if not client.tracking_uri.startswith(("http://", "https://")):
        return start()
    while True:
        try:
            with short_http_timeouts(until.left() / 2):
                return start()
        except MlflowException as error:
            if not mlflow_private.is_unanswered(error):
                raise
            if until.left() <= PAUSE:
                raise clients.unanswered(client, until, "start a run") from error
            until.sleep(PAUSE)


def give_up_run(run_id: str) -> None:
    """End a run of this thread that cannot be linked, as failed; with a dead server this takes no minutes."""
    active = mlflow.active_run()
    if active is None or active.info.run_id != run_id:
        return
    with short_http_timeouts(TAG_TIMEOUT), suppress(MlflowException):
        mlflow.end_run("FAILED")  # if the server is gone, the run is off the stack all the same
