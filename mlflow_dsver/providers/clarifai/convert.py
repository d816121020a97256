"""Converts Clarifai's responses to `DatasetVersion`: references, pages, order, and tags.

Clarifai has no tags; they are kept in `metadata.tags`, a list of strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any
from urllib.parse import quote, urlsplit

from mlflow_dsver import settings
from mlflow_dsver.errors import InvalidArgument, InvalidReference, SettingsError, UnexpectedResponse
from mlflow_dsver.model.refs import DatasetRef, check_tag
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.clarifai.info import APP, BASE, USER, Account, DatasetPlace
from mlflow_dsver.providers.clarifai.models import DatasetVersion as WireVersion
from mlflow_dsver.providers.clarifai.models import Origin, VersionStatus
from mlflow_dsver.providers.clarifai.polling import PER_PAGE
from mlflow_dsver.text import one_line

PORTAL = "https://clarifai.com"
UI = "CLARIFAI_UI"
ME = "me"
"""The API's alias for the token's user; responses have that user's name."""
COUNT_PARAMS = ("inputs_count",)
"""The counts that a run's params show; the others are in the link's artifact."""
REMEMBERED = 2 * PER_PAGE
"""Number of recent ids that are compared to find duplicates in a listing."""
_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)


def version(account: Account, place: DatasetPlace, found: WireVersion) -> DatasetVersion:
    """Convert to a DatasetVersion. Raises UnexpectedResponse when the response is about another dataset.

    A version is immutable once it is ready: it is a snapshot, and nothing can be added to it.
    """
    ref = _reference(place, found)
    return DatasetVersion(
        ref=ref,
        tags=tags_of(found.metadata),
        message=found.description or None,
        metadata=without_tags(found.metadata),
        usage_bytes=None,  # Clarifai does not report it; the size of an export is not the size of the data
        created=found.created_at,
        modified=found.modified_at,
        immutable=None if found.code is None else found.code == VersionStatus.READY,
        state=state(found.code),
        web_url=web_url(account, ref),
        counts=found.counts(),
        count_params=COUNT_PARAMS,
        raw=found.raw,
    )


def state(code: int | str | None) -> str:
    """A status as a word: `ready`, `pending`, `in progress`, `failure`, …; `unknown (…)` for any other code."""
    names = {each.value: each.name.lower().replace("_", " ") for each in VersionStatus}
    if isinstance(code, int) and code in names:
        return names[code]
    return "unknown" if code is None else one_line(f"unknown ({code})", 60)


def web_url(account: Account, ref: DatasetRef) -> str | None:
    """The version's page: `https://clarifai.com/{user}/{app}/datasets/{dataset}/versions/{version}`.

    That is the form that the vendor's own client library parses; that the portal shows a page there was not proven.
    For another API than the public one, `CLARIFAI_UI` names the portal; None when it does not.
    """
    portal = settings.text(UI) or (PORTAL if account.base.rstrip("/") == BASE else None)
    if portal is None or urlsplit(portal).scheme not in ("http", "https"):
        return None
    user, app, dataset = (quote(part, safe="") for part in ref.dataset.split("/"))
    return f"{portal.rstrip('/')}/{user}/{app}/datasets/{dataset}/versions/{quote(ref.selector or '', safe='')}"


def by_a_person(found: WireVersion) -> bool:
    """Whether a person requested the version; training and evaluation create versions too."""
    return found.request_origin in (None, Origin.NOT_SET, Origin.MANUAL)


def is_ready(found: WireVersion) -> bool:
    """Whether the version can be used."""
    return found.code == VersionStatus.READY


def age(found: WireVersion) -> tuple[datetime, str]:
    """Sort key of versions: date of creation, then id."""
    return found.created_at or _LONG_AGO, found.id


def newest_first(listing: Iterable[WireVersion], look_ahead: int = 100) -> Iterator[WireVersion]:
    """The versions, newest first, whatever the order of the listing, which is not documented; each once.

    A listing that starts newest first is passed on without storing it; UnexpectedResponse is raised if a later part
    is in another order. Any other listing is read completely and sorted. Versions without a date keep their position
    in the listing, or are last.
    """
    rest = iter(listing)
    first = list(islice(rest, look_ahead))
    dated = [found for found in first if found.created_at is not None]
    if dated != sorted(dated, key=age, reverse=True):
        yield from _each_once(sorted(chain(first, rest), key=age, reverse=True))
        return
    former: WireVersion | None = None
    for found in _each_once(chain(first, rest)):
        if found.created_at is not None:
            if former is not None and age(found) > age(former):
                raise UnexpectedResponse(
                    "the listing began newest first and did not go on so", got=found.id, provider="clarifai"
                )
            former = found
        yield found


def _each_once(listing: Iterable[WireVersion]) -> Iterator[WireVersion]:
    """Each version once: a version that is created in the meantime moves the pages."""
    latest: dict[str, None] = {}
    for found in listing:
        if found.id not in latest:
            yield found
        latest[found.id] = None
        if len(latest) > REMEMBERED:
            del latest[next(iter(latest))]


def _reference(place: DatasetPlace, found: WireVersion) -> DatasetRef:
    user = found.user_id or place.user
    app = found.app_id or place.app
    if not user or not app:
        raise SettingsError(
            "Clarifai's answer does not say whose dataset it is", tip=f"set {USER} and {APP}, or name them"
        )
    for requested, got in ((place.user, user), (place.app, app), (place.dataset, found.dataset_id or place.dataset)):
        if requested not in (None, ME, got):
            raise UnexpectedResponse(
                "the answer is about another dataset",
                provider="clarifai",
                reference=place,
                expected=requested,
                got=got,
            )
    try:
        return DatasetRef("clarifai", f"{user}/{app}/{place.dataset}", found.id)
    except InvalidReference as error:
        raise UnexpectedResponse("an answer with an id that can be none", provider="clarifai", got=error) from error


# Tags


KEY = "tags"
REMOVED = "dsver_removed"
"""Names of entries that were removed from the metadata and could only be set to null."""


def tags_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The tags in a version's metadata, sorted; invalid entries are skipped."""
    return tuple(sorted({tag for tag in metadata[KEY] if _is_tag(tag)})) if _is_ours(metadata) else ()


def without_tags(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata without its tags, and without the entries of `cleared`."""
    gone = metadata.get(REMOVED)
    gone = gone if isinstance(gone, list) else []
    return {
        key: value
        for key, value in metadata.items()
        if key != REMOVED and not (value is None and key in gone) and not (key == KEY and _is_ours(metadata))
    }


def check_given(metadata: Mapping[str, Any]) -> None:
    """Raise InvalidArgument when a user's metadata has entries that are reserved for this package."""
    if REMOVED in metadata or _is_ours(metadata):
        raise InvalidArgument(
            f"metadata has an entry {KEY!r} or {REMOVED!r}, which has a meaning of ours at Clarifai",
            tip="tags as tags, not inside the metadata",
        )


def with_tags(metadata: Mapping[str, Any], tags: Iterable[str]) -> dict[str, Any]:
    """Metadata to send, with these tags; an empty list for none, so that existing ones are removed in any case.

    Raises InvalidArgument when the metadata has a `tags` entry of its own, and InvalidReference for bad tags.
    """
    chosen = sorted({check_tag(tag) for tag in tags})
    if KEY not in metadata:
        return {**metadata, KEY: chosen}
    if chosen:
        raise InvalidArgument(
            f"metadata has an entry {KEY!r} of its own, which is where tags are kept at Clarifai",
            tip="another name for the entry",
        )
    return dict(metadata)


def cleared(found: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metadata to send again if the service merged it with the existing instead of replacing it; else None.

    Merging cannot remove entries, so removed ones become null, and `dsver_removed` lists them: a null that is not
    listed is the user's own.
    """
    if without_tags(found).keys() == without_tags(sent).keys():
        return None
    left = sorted(set(found) - set(sent) - {REMOVED})
    return {**sent, **dict.fromkeys(left), REMOVED: left}


def _is_ours(metadata: Mapping[str, Any]) -> bool:
    tags = metadata.get(KEY)
    return isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)


def _is_tag(tag: str) -> bool:
    try:
        check_tag(tag)
    except InvalidReference:
        return False
    return True
