"""Whether MLflow's tracking store answers, for `mlflow-dsver doctor`: bounded in time, and nothing is created.

The address is shown without user name, password and query, which may hold secrets.
"""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit, urlunsplit

import mlflow
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES
from mlflow.exceptions import MlflowException

from mlflow_dsver.providers.interface import Health

SQLITE = "sqlite:///"


def health(seconds: float) -> Health:
    """One search for one experiment, given up after that many seconds.

    MLflow's own retries (minutes of them) are switched off for this process: only the command line calls this.
    """
    uri = mlflow.get_tracking_uri()
    shown = without_secrets(uri)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).exists():
        return Health(True, f"{shown} (does not exist yet; MLflow makes it when something is logged)", {})
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(0)
    answer: Future[None] = Future()
    Thread(target=_ask, args=(answer,), daemon=True).start()
    try:
        answer.result(seconds)
    except TimeoutError:
        return Health(False, f"{shown} gave no answer within {seconds:g} seconds", {})
    except MlflowException as error:
        return Health(False, f"{shown} cannot be used: {str(error).replace(uri, shown)}", {})
    return Health(True, f"{shown} answers", {})


def without_secrets(uri: str) -> str:
    """The address without user name, password, query and fragment."""
    try:
        parts = urlsplit(uri)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that cannot be read"
    return urlunsplit((parts.scheme, host, parts.path, "", "")) if host else uri.partition("?")[0]


def _ask(answer: Future[None]) -> None:
    """Runs in a thread of its own; hands over the answer or any error, as an MlflowException."""
    try:
        mlflow.MlflowClient().search_experiments(max_results=1)
        answer.set_result(None)
    except MlflowException as error:
        answer.set_exception(error)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is why the store cannot be used)
        answer.set_exception(MlflowException(f"{type(error).__name__}: {error}"))
