"""Calls of the tracking server, bounded in time by MLFLOW_DSVER_TRACKING_TIMEOUT.

One call of MLflow against a server that is down was measured to retry for 246 seconds, and the client takes no
time-out. So each call runs in a thread of its own (`deadlines.BoundedTask`), and the caller waits as long as the
deadline allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver import settings
from mlflow_dsver.deadlines import BoundedTask, Deadline, DeadlineExceeded
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


class ServerTask(BoundedTask[T]):
    """A call of MLflow that was started in a thread. what: what it does, for the message of an error."""

    def __init__(self, client: MlflowClient, what: str, work: Callable[[], T]) -> None:
        self._what = what
        self._server = shown_address(client.tracking_uri)
        super().__init__(work)

    def result(self, deadline: Deadline) -> T:
        """The value of the call. Raises its DsverError, and TrackingError for all else and when time is up."""
        try:
            return super().result(deadline)
        except DsverError:
            raise
        except DeadlineExceeded as error:
            raise _unanswered(self._server, deadline, self._what) from error
        except Exception as error:
            message = f"MLflow at {self._server} could not {self._what}: {error_text(error)}"
            raise TrackingError(message) from error


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
    """Do the work under the deadline; see `ServerTask`."""
    return ServerTask(client, what, work).result(deadline)


def read_run(client: MlflowClient, deadline: Deadline, run_id: str) -> object:
    """MLflow's run entity. Raises RunNotFound, and TrackingError when it cannot be read."""
    return reading(client, run_id).result(deadline)


def reading(client: MlflowClient, run_id: str) -> ServerTask[object]:
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

    return ServerTask(client, f"show run {one_line(run_id, 60)}", work)


def error_text(error: Exception) -> str:
    """An error of MLflow or of a library that it uses, on one line and without passwords."""
    return one_line(error, 500) if isinstance(error, MlflowException) else error_line(error, 500)
