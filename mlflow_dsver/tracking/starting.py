"""The run that a script holds, and the ways to begin and to give one up with a server that may not answer.

MLflow's own start and end of a run belong to the caller's thread, where they cannot be bounded. So a server is asked
once, under a deadline, before a run is started on it; and a run that is given up is ended without MLflow's retries.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import mlflow
from mlflow import ActiveRun, MlflowClient
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT
from mlflow.exceptions import MlflowException

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import DsverError
from mlflow_dsver.tracking import bounded, writing
from mlflow_dsver.tracking.bounded import Errand
from mlflow_dsver.tracking.guards import seal_at_end
from mlflow_dsver.tracking.linked import LinkedDataset

TRUSTED_FOR = 60.0
"""Seconds for which a server that answered is taken to be there: runs that follow each other ask it only once."""

SAYING = 5.0
"""Seconds for writing a tag that tells of an error: the server has most likely just failed to answer."""

_answered: dict[str, float] = {}


class LinkedRun(ActiveRun):  # type: ignore[misc]
    """MLflow's active run, with `datasets`: role to what is linked. Works in `with` and without, as MLflow's does.

    unsaid: tags that tell of errors and could not be written yet; tried once more when the `with` block ends.
    """

    def __init__(
        self, run: Any, datasets: Mapping[str, LinkedDataset], unsaid: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(run)
        self._inputs = run.inputs  # which MLflow 2.22 leaves out of an active run
        self.datasets = dict(datasets)
        self._unsaid = dict(unsaid or {})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._unsaid:
            with suppress(DsverError):
                say(MlflowClient(), self.info.run_id, self._unsaid)
        if self.datasets:
            seal_at_end(self.info.run_id)
        return bool(super().__exit__(kind, error, trace))


def server_answers(client: MlflowClient) -> Errand[None] | None:
    """Ask a tracking server for a sign of life; None when it gave one lately, or when the store is no server.

    Any answer will do, a refusal too: it is MLflow's business then. Meant to run while references are resolved.
    """
    uri = client.tracking_uri
    if (
        not uri.startswith(("http://", "https://"))
        or time.monotonic() - _answered.get(uri, -TRUSTED_FOR) < TRUSTED_FOR
    ):
        return None

    def work() -> None:
        with suppress(MlflowException):
            client.get_experiment("0")
        _answered[uri] = time.monotonic()

    return Errand(client, "start a run", work)


def say(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Put tags on a run, within a few seconds. Raises TrackingError."""
    bounded.within(
        client, Deadline(SAYING), f"put tags on run {run_id}", lambda: writing.put_tags(client, run_id, tags)
    )


def give_up_run(run_id: str) -> None:
    """End a run of this thread that cannot be linked, as failed; with a dead server this takes no minutes."""
    active = mlflow.active_run()
    if active is None or active.info.run_id != run_id:
        return
    with _impatient(), suppress(MlflowException):
        mlflow.end_run("FAILED")  # if the server is gone, the run is off the stack all the same


@contextmanager
def _impatient() -> Iterator[None]:
    """MLflow tries once more at most and waits for a few seconds. This holds for all its threads meanwhile."""
    bounds = {MLFLOW_HTTP_REQUEST_MAX_RETRIES: 1, MLFLOW_HTTP_REQUEST_TIMEOUT: int(SAYING)}
    before = {setting: setting.get_raw() if setting.is_set() else None for setting in bounds}
    for setting, bound in bounds.items():
        setting.set(bound)
    try:
        yield
    finally:
        for setting, former in before.items():
            if former is None:
                setting.unset()
            else:
                setting.set(former)
