"""Changing a dataset version at Clarifai by `overwrite`, the only action there is, and reading back what came of it.

Whether metadata is replaced or merged, and whether fields that are not sent are cleared, is not documented; so the
whole is sent, and what a merge left behind is cleared by a second call.
"""

from __future__ import annotations

from typing import Any

from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.providers.clarifai.accounts import DatasetPlace
from mlflow_dsver.providers.clarifai.client import Client
from mlflow_dsver.providers.clarifai.models import DatasetVersion as WireVersion
from mlflow_dsver.providers.clarifai.tags import cleared, tags_of, with_tags, without_tags


def overwrite(
    client: Client, place: DatasetPlace, found: WireVersion, message: str | None, metadata: dict[str, Any]
) -> WireVersion:
    """Give a version this message (None: the former one) and metadata, tags included.

    Raises UnexpectedResponse when the answer has other metadata, and the service's errors.
    """
    body: dict[str, Any] = {"id": found.id, "metadata": metadata}
    body["description"] = message if message is not None else found.description or ""
    if found.visibility is not None:
        body["visibility"] = found.visibility
    changed = client.patch_dataset_versions(place.dataset, [body])[0]
    again = cleared(changed.metadata, metadata)
    if again is not None:
        changed = client.patch_dataset_versions(place.dataset, [{**body, "metadata": again}])[0]
    if changed.id != found.id or without_tags(changed.metadata) != without_tags(metadata):
        raise UnexpectedResponse(
            "the version's metadata is not what was sent", provider="clarifai", reference=place, payload=changed.raw
        )
    return changed


def take_tags_from_others(client: Client, place: DatasetPlace, holder: str, tags: set[str]) -> None:
    """Take tags off every version of the dataset but one."""
    others = [
        found
        for found in client.dataset_versions(place.dataset)
        if found.id != holder and tags & set(tags_of(found.metadata))
    ]
    for found in others:
        left = set(tags_of(found.metadata)) - tags
        overwrite(client, place, found, None, with_tags(without_tags(found.metadata), left))
