"""Creating and changing dataset versions at Clarifai: request bodies, lost answers, and checks of what was stored.

Nothing is sent twice. A version whose answer was lost is looked up by its id, which is chosen here or by the caller;
an id of the caller's is looked up before as well, so that no older version is taken for the new one. The only way to
change a version is `overwrite`. Whether that replaces or merges metadata, and whether it clears fields that are not
sent, is not documented; so everything is sent, and keys that a merge left are cleared by a second request.
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
    """A version to be made. annotation_filter: a filter's id, None for the dataset's own. version_id: None for a
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
        """The object that is sent. Raises InvalidArgument and InvalidReference for what cannot be sent."""
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
    """Hand back an id that a version may get, or raise InvalidReference or InvalidArgument.

    `latest` is refused, because a reference with it means another version each time.
    """
    if version_id == LATEST:
        raise InvalidArgument(
            f"a version's id cannot be {LATEST!r}", expected="an id that names this version only", got=version_id
        )
    return check_name(version_id, "a version's id")


def gettable(visibility: str) -> str:
    """The name by which a visibility is sent. Raises InvalidArgument for an unknown one."""
    if not isinstance(visibility, str) or visibility.upper() not in GETTABLE:
        raise InvalidArgument("visibility", expected=", ".join(VISIBILITIES), got=ascii(visibility)[:40])
    return visibility.upper()


def json_object(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of metadata as JSON. Raises InvalidArgument when it is none, or has entries that mean our tags."""
    try:
        copied = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument("metadata is not JSON", got=str(error)[:200]) from error
    assert isinstance(copied, dict)
    check_given(copied)
    return copied


def post(client: Client, place: DatasetPlace, body: Mapping[str, Any], *, own_id: bool) -> WireVersion:
    """Make the version, once. own_id: the caller chose the id, so that a version of it may exist already.

    Raises ProviderError when it does exist, and the service's errors.
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
    """Remove tags from every version of the dataset but one."""

    def look() -> list[WireVersion]:
        listing = client.dataset_versions(place.dataset)
        return [found for found in listing if found.id != holder and tags & set(tags_of(found.metadata))]

    for found in settled(look):
        left = set(tags_of(found.metadata)) - tags
        overwrite(client, place, found, None, with_tags(without_tags(found.metadata), left))
