"""Work for the tracking server that cannot hold its caller longer than a deadline.

One call of MLflow against a server that is down was measured to try again for 246 seconds. So each errand runs in a
thread of its own, and the caller waits as long as the deadline allows. A thread that is given up cannot be stopped:
it ends with the call that it is in, because every errand of several steps asks the deadline between them. The threads
are daemons, so none holds up the end of the program.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver import settings
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded
from mlflow_dsver.errors import DsverError, RunNotFound, TrackingError
from mlflow_dsver.text import error_line, one_line
from mlflow_dsver.tracking import mlflow_private
from mlflow_dsver.tracking.addresses import shown_address

TIMEOUT = 60.0
"""Seconds that linking waits for the tracking server, unless MLFLOW_DSVER_TRACKING_TIMEOUT says otherwise."""

T = TypeVar("T")


def deadline() -> Deadline:
    """A deadline for one operation, beginning now."""
    return Deadline(settings.seconds("TRACKING_TIMEOUT", TIMEOUT))


class BoundedTask(Generic[T]):
    """Work that was begun in a thread; `result` waits for it. what: what is done, for the message of an error."""

    def __init__(self, client: MlflowClient, what: str, work: Callable[[], T]) -> None:
        self._what = what
        self._server = shown_address(client.tracking_uri)
        self._done = threading.Event()
        self._value: T
        self._error: Exception | None = None
        context = contextvars.copy_context()
        threading.Thread(target=context.run, args=(self._run, work), name="mlflow-dsver", daemon=True).start()

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._value = work()
        except Exception as error:  # noqa: BLE001  (handed to the waiting thread)
            self._error = error
        finally:
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether the work has ended, well or not."""
        return self._done.is_set()

    def result(self, deadline: Deadline) -> T:
        """What the work gave. Raises its DsverError, and TrackingError for all else and when time is up."""
        self._done.wait(min(deadline.left(), threading.TIMEOUT_MAX))
        if not self._done.is_set() or isinstance(self._error, DeadlineExceeded):
            raise _unanswered(self._server, deadline, self._what) from self._error
        if self._error is None:
            return self._value
        if isinstance(self._error, DsverError):
            raise self._error
        raise TrackingError(f"MLflow at {self._server} could not {self._what}: {told(self._error)}") from self._error


def unanswered(client: MlflowClient, deadline: Deadline, what: str) -> TrackingError:
    """The error of a server that was asked to do something and did not answer within the deadline."""
    return _unanswered(shown_address(client.tracking_uri), deadline, what)


def _unanswered(server: str, deadline: Deadline, what: str) -> TrackingError:
    return TrackingError(
        f"the tracking server {server} did not answer in time; it was asked to {what}",
        expected=f"an answer within {deadline.seconds:g} seconds",
        done="Gave up waiting",
        tip="see whether the server is up and MLFLOW_TRACKING_URI is right; "
        "MLFLOW_DSVER_TRACKING_TIMEOUT sets the seconds",
    )


def within(client: MlflowClient, deadline: Deadline, what: str, work: Callable[[], T]) -> T:
    """Do the work under the deadline; see `BoundedTask`."""
    return BoundedTask(client, what, work).result(deadline)


def read_run(client: MlflowClient, deadline: Deadline, run_id: str) -> object:
    """MLflow's run entity. Raises RunNotFound, and TrackingError when it cannot be read."""
    return reading(client, run_id).result(deadline)


def reading(client: MlflowClient, run_id: str) -> BoundedTask[object]:
    """Begin to read a run; see `read_run`."""

    def work() -> object:
        try:
            return client.get_run(run_id)
        except MlflowException as error:
            if mlflow_private.is_missing_run(error):
                raise RunNotFound(
                    f"no run {one_line(run_id, 60)} at {shown_address(client.tracking_uri)}",
                    tip="see that MLFLOW_TRACKING_URI names the store that has the run",
                ) from error
            raise

    return BoundedTask(client, f"show run {one_line(run_id, 60)}", work)


def told(error: Exception) -> str:
    """An error of MLflow or of a library that it uses, on one line and without passwords."""
    return one_line(error, 500) if isinstance(error, MlflowException) else error_line(error, 500)
