"""MLflow's private parts for the artifacts of a run; see `mlflow_private`."""

from __future__ import annotations

import inspect
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Artifacts of a run: `get_artifact_repository`, `ArtifactRepository._download_file`, `resolve_uri`
#
# Needed: reading and writing the artifacts of a record. The public way, `MlflowClient.log_artifacts`,
# `list_artifacts` and `download_artifacts`, would lose what is promised:
# - the server: MLflow 2 resolves `mlflow-artifacts:` addresses by the process's tracking URI of the moment, not the
#   client's; and both versions keep repositories in a process-wide cache by run id alone, so that a client of another
#   address (a proxy, another login) gets the repository of the first one;
# - the number of requests: each client reads the run once more to learn its artifact URI, which is known here;
# - a download is one request without a progress bar, into a file whose size is checked: `download_artifacts` lists
#   the folder first and draws a bar on the user's terminal.


_UPLOADS_LOGGER = "mlflow.store.artifact.http_artifact_repo"


@cache
def _takes_tracking_uri() -> bool:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return "tracking_uri" in inspect.signature(get_artifact_repository).parameters  # MLflow 2 does not


def _without_secrets(record: logging.LogRecord) -> bool:
    """A filter of log messages, which keeps all and redacts them."""
    from mlflow_dsver.secrets import redacted

    record.msg, record.args = redacted(record.getMessage()), ()
    return True


def artifact_repository(client: MlflowClient, artifact_uri: str) -> Any:
    """MLflow's artifact repository at a run's artifact URI, on the client's server.

    `list_artifacts(folder)` and `log_artifacts(local_folder, folder)` of it are used, and `download_artifact` below.
    """
    import mlflow
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository

    # MLflow logs why an upload failed with the presigned address in it, which lets anybody write there for an hour.
    logging.getLogger(_UPLOADS_LOGGER).addFilter(_without_secrets)
    uri = client.tracking_uri
    if _takes_tracking_uri():
        return get_artifact_repository(artifact_uri, tracking_uri=uri)
    if artifact_uri.startswith("mlflow-artifacts:") and uri != mlflow.get_tracking_uri():
        artifact_uri = MlflowArtifactsRepository.resolve_uri(artifact_uri, uri)
    return get_artifact_repository(artifact_uri)


def download_artifact(repository: Any, path: str, local: Path) -> None:
    """Write one artifact to a local file, with one request. Raises MlflowException or OSError if it is missing.

    A server that refuses to send the bytes itself is asked for a presigned address, where MLflow knows of these.
    """
    try:
        repository._download_file(path, str(local))
    except OSError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status not in _NOT_SENT or not hasattr(repository, "_get_presigned_download_url"):
            raise
        try:
            _download_presigned(repository, path, local)
        except Exception:  # noqa: BLE001  (whatever it is, it quotes the address)
            raise error from None


_NOT_SENT = (403, 405, 501)
"""Statuses of a server, or of a gateway before it, that sends no artifact itself."""


def _download_presigned(repository: Any, path: str, local: Path) -> None:
    from mlflow.utils.request_utils import cloud_storage_http_request

    presigned = repository._get_presigned_download_url(path)
    given = {"headers": presigned.headers, "stream": True, "max_retries": 1, "timeout": 60}
    with cloud_storage_http_request("get", presigned.url, **given) as response, local.open("wb") as file:
        response.raise_for_status()
        for part in response.iter_content(chunk_size=1 << 20):
            file.write(part)
