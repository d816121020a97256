"""Changing a dataset version at Clarifai by `overwrite`, the only action there is, and reading back what came of it.

Whether metadata is replaced or merged, and whether fields that are not sent are cleared, is not documented; so the
whole is sent, and what a merge left behind is cleared by a second call.
"""

from __future__ import annotations

from typing import Any

from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.clarifai.accounts import DatasetPlace
from mlflow_dsver.providers.clarifai.client import Client
from mlflow_dsver.providers.clarifai.models import DatasetVersion as WireVersion
from mlflow_dsver.providers.clarifai.paging import settled
from mlflow_dsver.providers.clarifai.tags import cleared, tags_of, with_tags, without_tags


def overwrite(
    client: Client, place: DatasetPlace, found: WireVersion, message: str | None, metadata: dict[str, Any]
) -> WireVersion:
    """Give a version this message (None: the former one) and metadata, tags included.

    Raises UnexpectedResponse when the former values cannot be read, as they would be lost then, or when the answer
    has other metadata; and the service's errors.
    """
    if lost := {"metadata", "description", "visibility"} & set(found.unread):
        raise UnexpectedResponse(
            f"not changed, because what it has cannot be read and would be lost: {', '.join(sorted(lost))}",
            provider="clarifai",
            reference=DatasetRef("clarifai", str(place), found.id),
            payload=found.raw,
        )
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

    def look() -> list[WireVersion]:
        listing = client.dataset_versions(place.dataset)
        return [found for found in listing if found.id != holder and tags & set(tags_of(found.metadata))]

    for found in settled(look):
        left = set(tags_of(found.metadata)) - tags
        overwrite(client, place, found, None, with_tags(without_tags(found.metadata), left))
