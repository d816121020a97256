"""What the family `paperspace` is given on a command line, looked up: datasets and versions by id, name or tag."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import DatasetRef, parse

if TYPE_CHECKING:
    from mlflow_dsver.providers.paperspace.client import PaperspaceClient


def connected() -> AbstractContextManager[PaperspaceClient]:
    """A client for the account that the settings name."""
    from mlflow_dsver.providers.paperspace.account import Account
    from mlflow_dsver.providers.paperspace.client import connect

    return connect(Account.from_settings())


def dataset_id(client: PaperspaceClient, dataset: str) -> str:
    """The id of a dataset that is given by its id, its name, or a reference."""
    from mlflow_dsver.providers.paperspace.lookup import dataset_id

    return dataset_id(client, parse(dataset).dataset if "://" in dataset else dataset)


def version_id(client: PaperspaceClient, reference: str) -> tuple[str, str]:
    """Ids of the dataset and the version that a reference names, by the version's id or a tag; committed or not."""
    from mlflow_dsver.providers.paperspace.lookup import dataset_id, selected

    ref = reference_of(reference)
    dataset = dataset_id(client, ref.dataset)
    return dataset, selected(client, dataset, ref).version


def reference_of(reference: str) -> DatasetRef:
    """A reference that names a dataset and a version or tag, `paperspace://` before it or not."""
    ref: DatasetRef = parse(reference if "://" in reference else f"paperspace://{reference}")
    if ref.selector is None or ref.provider != "paperspace":
        raise InvalidReference("names no version of Paperspace", reference=reference, expected="dataset:version")
    return ref
