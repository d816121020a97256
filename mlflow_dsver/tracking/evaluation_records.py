"""Reads evaluation datasets of `mlflow.genai` from the tracking server, for the provider `mlflow`."""

from __future__ import annotations

from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import NotFound, Unsupported
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients
from mlflow_dsver.tracking.mlflow_private import is_missing


def read_records(ref: DatasetRef) -> tuple[dict[str, Any], list[Any]]:
    """What MLflow says of an evaluation dataset, and its records. ref: with its id as the dataset's name.

    Raises NotFound, Unsupported for an MLflow without evaluation datasets, and TrackingError.
    """
    client = clients.new_client()
    get = getattr(client, "get_dataset", None)
    if get is None:
        raise Unsupported("this MLflow has no evaluation datasets", provider="mlflow", tip="mlflow 3.4 or newer")

    def work() -> tuple[dict[str, Any], list[Any]]:
        try:
            found = get(ref.dataset)
        except MlflowException as error:
            if is_missing(error):
                raise NotFound(
                    "MLflow has no evaluation dataset of that id",
                    provider="mlflow",
                    operation="create a version",
                    reference=ref,
                    got=clients.shown_address(client.tracking_uri),
                    tip="see that MLFLOW_TRACKING_URI names the server that has it",
                ) from error
            raise
        about = {
            "name": found.name,
            "mlflow_digest": found.digest,
            "server": clients.shown_address(client.tracking_uri),
        }
        return {key: value for key, value in about.items() if value}, list(found.records)

    return clients.within(client, clients.deadline(), f"show the dataset {one_line(ref.dataset, 80)}", work)
