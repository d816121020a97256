"""MLflow clients: made here, remembered for each run, and the way from a client to a run's artifacts.

MLflow's functions follow the tracking URI of the moment, and a program may change it while a run goes on, to load a
model from another server, say. So everything about a run goes through the client that it was started with: requests,
and artifacts as well, whose `mlflow-artifacts:` addresses mean a place on the server that gave them out.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import SettingsError
from mlflow_dsver.tracking.mlflow_private import artifact_repository

REMEMBERED = 10_000
"""Runs whose tracking URI is remembered at most; the oldest go first."""

DATABASES = frozenset({"sqlite", "postgresql", "mysql", "mssql"})
"""Schemes of tracking URIs that mlflow-skinny cannot open, as it comes without SQLAlchemy."""

_lock = threading.Lock()
_uris: OrderedDict[str, str] = OrderedDict()


def new_client(tracking_uri: str | None = None) -> MlflowClient:
    """A client of that store; None means MLflow's current tracking URI.

    Raises SettingsError where mlflow-skinny is installed and the store needs the whole of mlflow.
    """
    try:
        return MlflowClient(tracking_uri=tracking_uri)
    except (ImportError, MlflowException) as error:
        missing = needs_mlflow(tracking_uri or mlflow.get_tracking_uri())
        if missing is None:
            raise
        raise missing from error


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
        _uris[run_id] = client.tracking_uri
        _uris.move_to_end(run_id)
        while len(_uris) > REMEMBERED:
            _uris.popitem(last=False)


def uri_of(run_id: str) -> str | None:
    """The tracking URI that the run was started with in this process; None when that is not known."""
    return _uris.get(run_id)


def client_of(run_id: str) -> MlflowClient:
    """A client of the store that the run was started in, as far as is known, else of the current one."""
    return new_client(uri_of(run_id))


def put_files(client: MlflowClient, artifact_uri: str, folder: str, files: Mapping[str, bytes]) -> None:
    """Upload artifacts of a run, by their names inside a folder of its artifacts. Raises MlflowException."""
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-") as place:
        for name, content in files.items():
            (Path(place) / name).write_bytes(content)
        artifact_repository(client, artifact_uri).log_artifacts(place, folder)


def _in_child() -> None:
    """A forked child: another thread of the parent, which is not here, may have held the lock."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
