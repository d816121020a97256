"""Creates and changes dataset versions at Clarifai: request bodies, lost responses, and checks of what was stored.

No request is sent twice. A version whose response was lost is looked up by its id, which is chosen here or by the
caller; a caller's id is also looked up before the request, so that an older version is not mistaken for the new one.
The only way to change a version is `overwrite`. Whether that replaces or merges metadata, and whether it clears
fields that are not sent, is not documented; therefore everything is sent, and a second request clears keys that a
merge left.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_dsver.errors import (
    InvalidArgument,
    NotFound,
    ProviderError,
    ProviderUnavailable,
    UnexpectedResponse,
)
from mlflow_dsver.model.refs import LATEST, DatasetRef, check_name
from mlflow_dsver.providers.clarifai.client import Client
from mlflow_dsver.providers.clarifai.convert import check_given, cleared, tags_of, with_tags, without_tags
from mlflow_dsver.providers.clarifai.info import DatasetPlace
from mlflow_dsver.providers.clarifai.models import GETTABLE
from mlflow_dsver.providers.clarifai.models import DatasetVersion as WireVersion
from mlflow_dsver.providers.clarifai.polling import settled

log = logging.getLogger(__name__)

VISIBILITIES = tuple(name.lower() for name in GETTABLE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version to create. annotation_filter: a filter's id, None for the dataset's own. version_id: None for a
    random one. visibility: one of VISIBILITIES; None leaves it to Clarifai.
    """

    message: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    annotation_filter: str | None = None
    ignore_empty_inputs: bool = False
    version_id: str | None = None
    visibility: str | None = None

    def body(self) -> dict[str, Any]:
        """The body of the request. Raises InvalidArgument and InvalidReference for invalid values."""
        body: dict[str, Any] = {"id": uuid.uuid4().hex if self.version_id is None else checked_id(self.version_id)}
        if self.message:
            body["description"] = self.message
        if self.metadata or self.tags:
            body["metadata"] = with_tags(json_object(self.metadata), self.tags)
        if self.annotation_filter is not None or self.ignore_empty_inputs:
            chosen: dict[str, Any] = {}
            if self.annotation_filter is not None:
                chosen["annotation_filter"] = {"id": check_name(self.annotation_filter, "an annotation filter's id")}
            body["annotation_filter_config"] = {**chosen, "ignore_empty_inputs": self.ignore_empty_inputs}
        if self.visibility is not None:
            body["visibility"] = {"gettable": gettable(self.visibility)}
        return body


def checked_id(version_id: str) -> str:
    """Return a valid id for a new version, or raise InvalidReference or InvalidArgument.

    `latest` is refused, because a reference with it resolves to another version each time.
    """
    if version_id == LATEST:
        raise InvalidArgument(
            f"a version's id cannot be {LATEST!r}", expected="an id that names this version only", got=version_id
        )
    return check_name(version_id, "a version's id")


def gettable(visibility: str) -> str:
    """The API's name of a visibility. Raises InvalidArgument for an unknown one."""
    if not isinstance(visibility, str) or visibility.upper() not in GETTABLE:
        raise InvalidArgument("visibility", expected=", ".join(VISIBILITIES), got=ascii(visibility)[:40])
    return visibility.upper()


def json_object(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of metadata as JSON. Raises InvalidArgument if it is none, or has the entry of our tags."""
    try:
        copied = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument("metadata is not JSON", got=str(error)[:200]) from error
    assert isinstance(copied, dict)
    check_given(copied)
    return copied


def post(client: Client, place: DatasetPlace, body: Mapping[str, Any], *, own_id: bool) -> WireVersion:
    """Create the version with one request. own_id: the caller chose the id, so that it may already exist.

    Raises ProviderError if it exists, and the service's errors.
    """
    if own_id:
        _refuse_existing(client, place, body["id"])
    try:
        made = client.post_dataset_versions(place.dataset, [body])[0]
    except (ProviderUnavailable, UnexpectedResponse) as lost:
        return _recognised(client, place, body["id"], lost)
    if made.id != body["id"]:
        raise UnexpectedResponse(
            "the version that was made has another id", provider="clarifai", expected=body["id"], got=made.id
        )
    return made


def _refuse_existing(client: Client, place: DatasetPlace, version: str) -> None:
    try:
        found = client.get_dataset_version(place.dataset, version)
    except NotFound:
        return
    raise ProviderError(
        "a version of that id exists already",
        provider="clarifai",
        operation="create a version",
        reference=DatasetRef("clarifai", str(place), found.id),
        status=409,
        done="Nothing was made",
        tip="another id, or none",
    )


def _recognised(client: Client, place: DatasetPlace, version: str, lost: ProviderError) -> WireVersion:
    """The version that was created although no valid response came; raises the original error, with what is known."""
    try:
        found = client.get_dataset_version(place.dataset, version)
    except NotFound:
        lost.done = "It was not sent again; no version with its id is there, so it was probably not made"
    except ProviderError:
        lost.done = "It was not sent again, and whether it was made could not be found out"
    else:
        log.warning("the answer to a create was lost (%s); version %s was made all the same", lost.what, found.id)
        return found
    lost.tip = f"mlflow-dsver versions list clarifai://{place}, before trying again"
    raise lost


# Changing a version


def overwrite(
    client: Client, place: DatasetPlace, found: WireVersion, message: str | None, metadata: dict[str, Any]
) -> WireVersion:
    """Set a version's message (None: the existing one) and metadata, including tags.

    Raises UnexpectedResponse if the existing values cannot be read, since they would be lost, or if the response has
    other metadata; and the service's errors.
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
    """Remove tags from every version of the dataset but one."""

    def look() -> list[WireVersion]:
        listing = client.dataset_versions(place.dataset)
        return [found for found in listing if found.id != holder and tags & set(tags_of(found.metadata))]

    for found in settled(look):
        left = set(tags_of(found.metadata)) - tags
        overwrite(client, place, found, None, with_tags(without_tags(found.metadata), left))
