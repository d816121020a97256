"""MLflow clients, their addresses, and calls of them that are bounded in time.

MLflow's functions use the current tracking URI, which a program may change during a run, to load a model from another
server, say. So everything about a run goes through a client of the server that the run was started on: requests, and
artifacts too, whose `mlflow-artifacts:` addresses are relative to that server. The same goes for the workspace, which
is the one that was active when the client was made.
"""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver import settings
from mlflow_dsver.deadlines import BoundedTask, Deadline, DeadlineExceeded
from mlflow_dsver.errors import DsverError, RunNotFound, SettingsError, TrackingError
from mlflow_dsver.providers.interface import Health
from mlflow_dsver.text import error_line, one_line
from mlflow_dsver.tracking import mlflow_private
from mlflow_dsver.tracking.mlflow_private import (
    active_workspace,
    artifact_repository,
    in_workspace,
    short_http_timeouts,
)

REMEMBERED = 10_000
"""Runs whose tracking URI is remembered at most; the oldest go first."""

TEMPORARY = "mlflow-dsver-"
"""How the names of temporary folders begin."""

DATABASES = frozenset({"sqlite", "postgresql", "mysql", "mssql"})
"""Schemes of tracking URIs that mlflow-skinny cannot open, as it comes without SQLAlchemy."""

_lock = threading.Lock()
_places: OrderedDict[str, tuple[str, str | None]] = OrderedDict()
"""Run id to the tracking URI and the workspace that the run was started with."""
_WORKSPACE = "mlflow_dsver_workspace"


def new_client(tracking_uri: str | None = None, workspace: str | None = None) -> MlflowClient:
    """A client of that store and workspace; None means MLflow's current tracking URI, and its active workspace.

    Raises SettingsError where mlflow-skinny is installed and the store needs the whole of mlflow.
    """
    try:
        with in_workspace(workspace):
            client = MlflowClient(tracking_uri=tracking_uri)
            setattr(client, _WORKSPACE, active_workspace())
            return client
    except (ImportError, MlflowException) as error:
        missing = needs_mlflow(tracking_uri or mlflow.get_tracking_uri())
        if missing is None:
            raise
        raise missing from error


def workspace_of(client: Any) -> str | None:
    """The workspace that a client was made for; None for the server's default."""
    return getattr(client, _WORKSPACE, None)


def needs_mlflow(tracking_uri: str) -> SettingsError | None:
    """The error of a tracking store in a database where only mlflow-skinny is installed; None for all others."""
    scheme = tracking_uri.partition(":")[0].partition("+")[0]
    if scheme not in DATABASES or find_spec("sqlalchemy") is not None:
        return None
    return SettingsError(
        f"a tracking store in a database ({scheme}:…) needs the package mlflow; mlflow-skinny is installed",
        tip="pip install mlflow, or set MLFLOW_TRACKING_URI to the http address of a tracking server",
    )


def remember(run_id: str, client: MlflowClient) -> None:
    """The run was started with this client."""
    with _lock:
        _places[run_id] = client.tracking_uri, workspace_of(client)
        _places.move_to_end(run_id)
        while len(_places) > REMEMBERED:
            _places.popitem(last=False)


def uri_of(run_id: str) -> str | None:
    """The tracking URI that the run was started with in this process; None when that is not known."""
    return _places.get(run_id, (None, None))[0]


def workspace_of_run(run_id: str) -> str | None:
    """The workspace that the run was started in in this process; None when that is not known, or the default one."""
    return _places.get(run_id, (None, None))[1]


def client_of(run_id: str) -> MlflowClient:
    """A client of the store and workspace that the run was started in, if known, else of the current one."""
    return new_client(*_places.get(run_id, (None, None)))


def put_files(client: MlflowClient, artifact_uri: str, folder: str, files: Mapping[str, bytes]) -> None:
    """Upload artifacts of a run, by their names inside a folder of its artifacts. Raises MlflowException."""
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as place:
        for name, content in files.items():
            (Path(place) / name).write_bytes(content)
        with in_workspace(workspace_of(client)):
            artifact_repository(client, artifact_uri).log_artifacts(place, folder)


def _in_child() -> None:
    """A forked child: another thread of the parent, which is not here, may have held the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


# Addresses: stored and shown without user, password and query


_SQL_LOGIN = re.compile(r"[^:/]*(?::[^@]*)?@(?:[^/]*@)?")  # as SQLAlchemy reads it: a password may have slashes


def address(tracking_uri: str) -> str:
    """A tracking address that can be kept and compared: no user, password or query; files by their full path.

    Raises ValueError for a web address that is none.
    """
    scheme, separator, rest = tracking_uri.partition("://")
    if not separator:
        plain = not tracking_uri or tracking_uri.startswith(("databricks", "uc:"))
        return tracking_uri if plain else str(Path(tracking_uri.removeprefix("file:")).absolute())
    scheme = scheme.lower()
    if scheme in ("http", "https"):
        return _web_address(tracking_uri)
    login = _SQL_LOGIN.match(rest)
    kept = f"{scheme}://{rest[login.end() :] if login else rest}".partition("?")[0]
    if scheme == "sqlite":
        name = kept.removeprefix("sqlite://").removeprefix("/")
        return kept if name in ("", ":memory:") else f"sqlite:///{Path(name).absolute()}"
    return kept


def shown_address(tracking_uri: str) -> str:
    """The tracking address without user and password, for messages; cut where it is long."""
    try:
        parts = urlsplit(tracking_uri)
    except ValueError:  # a web address that is none
        return one_line(tracking_uri.partition("://")[0] + "://[not an address]")
    if not parts.netloc:
        return one_line(tracking_uri)
    return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def local_store(tracking_uri: str) -> Path | None:
    """The SQLite file or the folder of a tracking store on this machine; None for any other store."""
    if tracking_uri.startswith("sqlite:///"):
        return Path(tracking_uri.removeprefix("sqlite:///").partition("?")[0])
    if tracking_uri.startswith("file:"):
        return Path(unquote(urlsplit(tracking_uri).path))
    remote = "://" in tracking_uri or tracking_uri.startswith(("databricks", "uc:"))
    return None if remote else Path(tracking_uri)


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    try:
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:  # whatever stands there, it is no port
        port = ""
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


# Calls bounded in time. One call of MLflow against a server that is down was measured to retry for 246 seconds, and
# the client takes no timeout: each call runs in a thread of its own, and the caller waits as long as the deadline
# allows.


TIMEOUT = 60.0
"""Seconds that linking waits for the tracking server, unless MLFLOW_DSVER_TRACKING_TIMEOUT says otherwise."""

T = TypeVar("T")


def deadline() -> Deadline:
    """A deadline for one operation, beginning now."""
    return Deadline(settings.seconds("TRACKING_TIMEOUT", TIMEOUT))


class ServerTask(BoundedTask[T]):
    """A call of MLflow that was started in a thread, in the client's workspace.

    what: what it does, for the message of an error.
    """

    def __init__(self, client: MlflowClient, what: str, work: Callable[[], T]) -> None:
        self._what = what
        self._server = shown_address(client.tracking_uri)
        workspace = workspace_of(client)

        def in_its_workspace() -> T:
            with in_workspace(workspace):
                return work()

        super().__init__(in_its_workspace)

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
            if mlflow_private.is_missing(error):
                raise RunNotFound(
                    f"no run {one_line(run_id, 60)} at {shown_address(client.tracking_uri)}",
                    tip="see that MLFLOW_TRACKING_URI names the store that has the run",
                ) from error
            raise

    return ServerTask(client, f"show run {one_line(run_id, 60)}", work)


def error_text(error: Exception) -> str:
    """An error of MLflow or of a library that it uses, on one line and without passwords."""
    return one_line(error, 500) if isinstance(error, MlflowException) else error_line(error, 500)


# Health, for `mlflow-dsver doctor`: bounded in time, and nothing is created


SQLITE = "sqlite:///"


def exists() -> bool:
    """Whether the tracking store is there; False for one on this machine that nothing was logged to yet."""
    path = local_store(mlflow.get_tracking_uri())
    return path is None or path.exists()


def health(seconds: float) -> Health:
    """One search for one experiment, given up after that many seconds; the address is shown without secrets.

    MLflow's own retries (minutes of them) are switched off for this search.
    """
    address = mlflow.get_tracking_uri()
    shown = shown_address(address)
    missing = needs_mlflow(address)
    if missing is not None:
        return Health(False, str(missing), {})
    if address.startswith(SQLITE) and not exists():
        return Health(True, f"{shown} (does not exist yet; MLflow makes it when something is logged)", {})
    client = new_client()  # not before: it makes an SQLite file that is not there
    try:
        with short_http_timeouts(seconds, retries=0):  # the thread that asks gets a copy of this context
            within(client, Deadline(seconds), "list experiments", lambda: client.search_experiments(max_results=1))
    except TrackingError as error:
        return Health(False, str(error), {})
    return Health(True, f"{shown} answers", {})
