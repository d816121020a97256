"""Whether MLflow's tracking store answers, for `mlflow-dsver doctor`: bounded in time, and nothing is created."""

from __future__ import annotations

import mlflow

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import TrackingError
from mlflow_dsver.providers.interface import Health
from mlflow_dsver.tracking.addresses import local_store, shown_address
from mlflow_dsver.tracking.bounded_tasks import within
from mlflow_dsver.tracking.clients import needs_mlflow, new_client
from mlflow_dsver.tracking.mlflow_private import short_http_timeouts

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
