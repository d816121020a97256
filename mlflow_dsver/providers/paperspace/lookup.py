"""Resolves a reference to one Paperspace version with as few requests as possible.

The service has no lookup by name, tag or `latest`, and its response for something that does not exist (404, 403, or
either for a bad key) is not documented. So the cause of a refusal is determined before it is raised: first the key is
checked, then the list of datasets, then the dataset's versions.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NoReturn

from mlflow_dsver.errors import InvalidReference, NotFound, PermissionDenied, ProviderError, UnexpectedResponse
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest
from mlflow_dsver.providers.interface import SUGGESTION_LIMIT
from mlflow_dsver.providers.paperspace.client import PaperspaceClient
from mlflow_dsver.providers.paperspace.models import Version, tags_of
from mlflow_dsver.text import one_line

log = logging.getLogger(__name__)

_ID = re.compile(r"ds[a-z0-9]{13}\Z")
"""Format of all ids seen so far; used to save a request, never to refuse an id."""
NAME_SECONDS = 5.0
"""Seconds to wait for a dataset's name, which is optional."""
Refusal = (NotFound, PermissionDenied)
OWN_NAMESPACES = ("paperspace", "gradient")
"""Namespaces that the vendor's notebooks and workflows write, also for the team's own datasets."""


def dataset_id(client: PaperspaceClient, dataset: str) -> str:
    """As `dataset_place`, without the name."""
    return dataset_place(client, dataset)[0]


def dataset_name(client: PaperspaceClient, dataset: str) -> str | None:
    """The name of the dataset with that id; None where the service does not return it, which is not an error."""
    try:
        return client.dataset(dataset, seconds=NAME_SECONDS).name
    except ProviderError as error:
        log.info("the name of dataset %s cannot be looked up: %s", dataset, error)
        return None


def dataset_place(client: PaperspaceClient, dataset: str) -> tuple[str, str | None]:
    """The id of a dataset that is given by id or name, and its name where it is known without a request.

    A namespace may precede it. Raises NotFound with near names, and for a namespace other than that of the key's
    team; ProviderError when several datasets have the name.
    """
    *namespace, name = dataset.split("/")
    if len(namespace) > 1:
        raise InvalidReference("not a dataset of Paperspace", expected="an id or a name", got=one_line(dataset, 80))
    if namespace and namespace[0] not in OWN_NAMESPACES:
        _check_namespace(client, namespace[0], dataset)
    if _ID.match(name):
        return name, None
    known = list(client.datasets())
    found = [(each.id, each.name) for each in known if name in (each.name, each.id)]
    if len(found) > 1:
        raise ProviderError(
            f"{len(found)} datasets are called so",
            provider="paperspace",
            operation="resolve",
            reference=f"paperspace://{dataset}",
            tip="the id instead: " + ", ".join(each[0] for each in found[:5]),
        )
    if not found:
        _raise_no_dataset(dataset, {each.name: each.id for each in known if each.name})
    return found[0]


def _check_namespace(client: PaperspaceClient, namespace: str, dataset: str) -> None:
    """Refuse another team's namespace: a key reads its own team only, so that name would be another dataset."""
    team = client.session().team
    if namespace not in (team.namespace, team.id):
        raise _not_found(
            DatasetRef("paperspace", dataset),
            "the dataset is said to be of another team than the key",
            expected=f"the namespace {one_line(team.namespace, 60)}, or none",
            got=one_line(namespace, 60),
            tip="a key of that team, or without the namespace where your own is meant",
        )


def newest(client: PaperspaceClient, dataset: str, ref: DatasetRef, *, uncommitted: bool) -> Version:
    """The newest committed version; where there is none and `uncommitted` is set, the newest uncommitted one."""
    first: Version | None = None
    unknown: list[str] = []
    for version in listed(client, dataset):
        if version.isCommitted:
            if unknown:
                passed = one_line(", ".join(unknown[:5]), 200)
                log.warning(
                    "%s: %s is newer than %s and is passed over: the service does not say whether it is committed",
                    ref,
                    passed,
                    version.version,
                )
            return version
        if version.isCommitted is None:
            unknown.append(version.version)
        first = first or version
    if first is not None and uncommitted:
        return first
    what = "the dataset has no version" if first is None else "the dataset has versions, none of them committed"
    raise _not_found(ref, what, tip=f"{ref.at(first.version)}" if first else None)


def selected(client: PaperspaceClient, dataset: str, ref: DatasetRef) -> Version:
    """The version with the selector as its id, else the newest committed one with the selector as a tag."""
    assert ref.selector is not None
    try:
        found = client.version(dataset, ref.selector, reference=ref)
    except Refusal as refusal:
        return _tagged(client, dataset, ref, refusal)
    if found.version != ref.selector and ref.selector not in tags_of(found):
        raise UnexpectedResponse(
            "the service answered with another version",
            provider="paperspace",
            operation="resolve",
            reference=ref,
            expected=ref.selector,
            got=one_line(found.version, 60),
            payload=found.raw,
        )
    return found


def version_of_id(client: PaperspaceClient, dataset: str, version: str, ref: DatasetRef) -> Version:
    """The version with exactly that id. Raises NotFound with near ids."""
    if version != LATEST:
        try:
            found = client.version(dataset, version, reference=ref)
        except Refusal as refusal:
            some = list(islice(listed(client, dataset), SUGGESTION_LIMIT))
            raise _no_version(some, ref, refusal, by_id=True) from refusal
        if found.version == version:
            return found
    raise _not_found(ref, "no version of that id")


def listed(client: PaperspaceClient, dataset: str, tag: str | None = None) -> Iterator[Version]:
    """A dataset's versions, newest first, optionally only those with the tag; the filter is applied here too."""
    versions = client.versions(dataset, tags=() if tag is None else (tag,), order_by="dtCreated", order="desc")
    try:
        first = next(versions, None)
    except Refusal as refusal:
        _raise_refused(client, dataset, refusal)
    if first is not None:
        for version in _chain(first, versions):
            if tag is None or tag in tags_of(version):
                yield version


def _chain(first: Version, rest: Iterator[Version]) -> Iterator[Version]:
    yield first
    yield from rest


def _tagged(client: PaperspaceClient, dataset: str, ref: DatasetRef, refusal: ProviderError) -> Version:
    """The newest committed version with that tag, else an uncommitted one; otherwise NotFound with near names.

    Queries with the service's filter first, then filters the newest versions here: how the service's filter treats
    blanks around a tag is not documented.
    """
    assert ref.selector is not None
    found = [] if "," in ref.selector else list(listed(client, dataset, ref.selector))
    if not found:
        some = list(islice(listed(client, dataset), SUGGESTION_LIMIT))
        found = [version for version in some if ref.selector in tags_of(version)]
        if not found:
            raise _no_version(some, ref, refusal) from refusal
    committed = [version for version in found if version.isCommitted]
    if len(committed) > 1:
        others = ", ".join(version.version for version in committed[1:4])
        log.warning("%s: the tag is on several versions; the newest is taken, not %s", ref, others)
    return (committed or found)[0]


def _no_version(
    some: list[Version], ref: DatasetRef, refusal: ProviderError, *, by_id: bool = False
) -> ProviderError:
    """The error for a version that is not in the listing; the refusal itself where the listing has it.

    by_id: tags are not accepted, so a version that has the selector as a tag is suggested by its id.
    """
    assert ref.selector is not None
    if any(version.version == ref.selector for version in some):
        return refusal  # it exists, and the key may not read it
    if by_id:
        tagged = [version.version for version in some if ref.selector in tags_of(version)]
        near = tagged or nearest(ref.selector, [version.version for version in some])
        what = "no version of that id" + ("; it is a tag" if tagged else "")
    else:
        names = {name for version in some for name in (version.version, *tags_of(version))}
        near, what = nearest(ref.selector, sorted(names)), "no version of that id and no such tag"
    tip = ", ".join(str(ref.at(name)) for name in near[:3]) or None
    return _not_found(ref, what, tip=tip, status=refusal.status)


def _raise_refused(client: PaperspaceClient, dataset: str, refusal: ProviderError) -> NoReturn:
    """Raise the cause of a refusal for a whole dataset: a bad key, a missing dataset, or no permission."""
    client.session()
    known = {each.id: each.name for each in client.datasets()}
    if dataset in known:
        raise refusal
    _raise_no_dataset(dataset, {name or each: each for each, name in known.items()}, refusal)


def _raise_no_dataset(dataset: str, known: dict[str, str], cause: ProviderError | None = None) -> NoReturn:
    """known: name to id."""
    ids = [known[name] for name in nearest(dataset, sorted(known))] or nearest(dataset, sorted(known.values()))
    raise _not_found(
        DatasetRef("paperspace", dataset),
        "no such dataset among those that this key may see",
        tip=", ".join(f"paperspace://{each}" for each in ids)
        or "a key belongs to one team: is it that of the dataset?",
        status=None if cause is None else cause.status,
    ) from cause


def _not_found(ref: DatasetRef, what: str, **parts: Any) -> NotFound:
    return NotFound(what, provider="paperspace", operation="resolve", reference=ref, **parts)
