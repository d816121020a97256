"""Changes at Paperspace: create, update, commit, delete, each checked against the answer.

Nothing is sent twice. A create whose answer was lost is recognised by its token afterwards; whether the service
replaces or merges metadata, moves a tag or leaves it on both versions, is found out from its answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import ProviderError, ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.model.refs import DatasetRef, tag_list
from mlflow_dsver.providers.paperspace import lookup, models
from mlflow_dsver.providers.paperspace.client import PaperspaceClient, connect
from mlflow_dsver.providers.paperspace.info import Account
from mlflow_dsver.providers.paperspace.models import Version
from mlflow_dsver.providers.paperspace.paging import PAGE
from mlflow_dsver.text import one_line

ASKING_SHARE = 0.6
"""Share of the time-out for a create; the rest is for checking whether it succeeded when no response came."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed; None and empty leave things as they are. metadata replaces people's whole metadata."""

    message: str | None = None
    add_tags: str | tuple[str, ...] = ()
    remove_tags: str | tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None


def create(
    account: Account,
    dataset: str,
    message: str | None,
    tags: tuple[str, ...],
    metadata: dict[str, Any],
    *,
    commit: bool = False,
) -> tuple[tuple[str, str | None], Version]:
    """Make a version, and commit it if asked; gives the dataset's id and name (None: not known), and the version.

    metadata has our section with its token. When the version is there and the rest fails, the error says so.
    """
    tags = tag_list(tags)
    with connect(account, deadline=Deadline(account.timeout * ASKING_SHARE)) as client:
        found, name = lookup.dataset_place(client, dataset)
        ref = DatasetRef("paperspace", found)
        try:
            made = client.create_version(found, message=message, tags=tags, metadata=metadata, reference=ref)
        except (ProviderUnavailable, UnexpectedResponse) as lost:
            made = _recognised(account, ref, metadata[models.OWN]["token"], lost)
        except lookup.Refusal as refusal:
            next(lookup.listed(client, found), None)  # says why, where the dataset is the reason
            raise refusal
    made_ref = ref.at(made.version)
    _check(made_ref, "create a version", message=(message or None, made.message or None))
    _check(made_ref, "create a version", token=(metadata[models.OWN]["token"], models.own_section(made).get("token")))
    with connect(account, deadline=Deadline(account.timeout)) as client:
        _take_over(client, made_ref, made, tags)
        if commit:
            made = _committed(client, made_ref)
        name = name or lookup.dataset_name(client, found)
    return (found, name), made


def _committed(client: PaperspaceClient, ref: DatasetRef) -> Version:
    """A version that was just made, committed; the error of a failure says that the version is there."""
    try:
        return set_committed(client, ref, True)
    except ProviderError as error:
        error.done = f"{ref} was made, and is not committed as far as is known"
        error.tip = f"mlflow-dsver paperspace commit {ref}"
        raise


def update(client: PaperspaceClient, ref: DatasetRef, current: Version, changes: Changes) -> Version:
    """Apply the changes, in one request where possible; return the version as it is then."""
    tags = _wanted_tags(current, changes)
    new_tags = None if set(tags) == set(models.tags_of(current)) else tags
    metadata = (
        None if changes.metadata is None else models.full_metadata(changes.metadata, models.own_section(current))
    )
    if changes.message is None and new_tags is None and metadata is None:
        _take_over(client, ref, current, tag_list(changes.add_tags))
        return current
    try:
        after = client.update_version(
            ref.dataset, current.version, message=changes.message, tags=new_tags, metadata=metadata, reference=ref
        )
    except ProviderError as error:
        if new_tags == [] and error.status == 400:
            error.tip = "the service does not take a version's last tag away; give it another one first"
        raise
    if changes.metadata is not None:
        after = _without_leftovers(client, ref, after, changes.metadata)
        _check(ref, "update the version", metadata=(dict(changes.metadata), models.peoples_metadata(after)))
    if changes.message is not None:
        _check(ref, "update the version", message=(changes.message or None, after.message or None))
    _take_over(client, ref, after, tag_list(changes.add_tags))
    _check(ref, "update the version", tags=(sorted(tags), sorted(models.tags_of(after))))
    return after


def set_committed(client: PaperspaceClient, ref: DatasetRef, committed: bool) -> Version:
    """Set whether a version is committed, and check the result."""
    after = client.update_version(ref.dataset, ref.selector or "", is_committed=committed, reference=ref)
    _check(
        ref,
        "commit the version" if committed else "un-commit the version",
        isCommitted=(committed, after.isCommitted),
    )
    return after


def delete(client: PaperspaceClient, ref: DatasetRef) -> None:
    """Delete a version; raises NotFound when there is none."""
    try:
        client.delete_version(ref.dataset, ref.selector or "", reference=ref)
    except lookup.Refusal as refusal:
        lookup.version_of_id(client, ref.dataset, ref.selector or "", ref)
        raise refusal


def _recognised(account: Account, ref: DatasetRef, token: str, lost: ProviderError) -> Version:
    """The version that was created although no valid response came; raises the original error, with what is known."""
    try:
        with connect(account, deadline=Deadline(account.timeout * (1 - ASKING_SHARE))) as client:
            for version in islice(client.versions(ref.dataset, order_by="dtCreated", order="desc"), PAGE):
                if models.own_section(version).get("token") == token:
                    return version
        lost.done = "It was not sent again; no version with its token is listed, so it was probably not made"
    except ProviderError:
        lost.done = "It was not sent again, and whether it was made could not be found out"
    lost.tip = f"mlflow-dsver versions list {ref}, before trying again"
    raise lost


def _wanted_tags(current: Version, changes: Changes) -> list[str]:
    if current.tags is None and current.raw.get("tags") is not None and (changes.add_tags or changes.remove_tags):
        raise UnexpectedResponse(
            "its tags cannot be read, and all would be replaced",
            provider="paperspace",
            operation="update the version",
            got=one_line(current.raw["tags"], 100),
            payload=current.raw,
        )
    removed = tag_list(changes.remove_tags)
    remaining = [tag for tag in models.tags_of(current) if tag not in removed]
    return list(dict.fromkeys([*remaining, *tag_list(changes.add_tags)]))


def _without_leftovers(
    client: PaperspaceClient, ref: DatasetRef, after: Version, requested: Mapping[str, Any]
) -> Version:
    """Where the service merged the metadata, set removed keys to null."""
    leftovers = models.peoples_metadata(after).keys() - requested.keys()
    if not leftovers:
        return after
    metadata = models.full_metadata(requested, models.own_section(after), leftovers)
    return client.update_version(ref.dataset, after.version, metadata=metadata, reference=ref)


def _take_over(client: PaperspaceClient, ref: DatasetRef, holder: Version, tags: tuple[str, ...]) -> None:
    """Remove tags from the other versions that have them, where the service did not move them."""
    for tag in tags:
        for other in list(lookup.listed(client, ref.dataset, tag)):
            if other.version != holder.version:
                rest = [each for each in models.tags_of(other) if each not in tags]
                try:
                    client.update_version(ref.dataset, other.version, tags=rest, reference=ref.at(other.version))
                except ProviderError as error:
                    error.done = f"{ref} has the tag {one_line(tag, 60)} now, and {other.version} has it still"
                    raise


def _check(ref: DatasetRef, operation: str, **pairs: tuple[object, object]) -> None:
    """Raise UnexpectedResponse when the service reported success but stored other values."""
    for key, (requested, actual) in pairs.items():
        if requested != actual:
            raise UnexpectedResponse(
                f"the service said yes, and {key} is not what was asked for",
                provider="paperspace",
                operation=operation,
                reference=ref,
                expected=one_line(requested, 200),
                got=one_line(actual, 200),
                tip="look at the version before going on",
            )
