"""Our convention for tags at Clarifai, which has none: `metadata.tags`, a list of texts.

A tag names one version of a dataset: whoever gives it to another takes it off the former holder. In our words
metadata comes without its tags; a `tags` entry that is no list of texts is somebody's own, stays in the metadata and
means no tags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_dsver.errors import InvalidArgument, InvalidReference
from mlflow_dsver.model.refs import check_tag

KEY = "tags"
REMOVED = "dsver_removed"
"""Names of entries that were removed from the metadata and could only be set to null."""


def tags_of(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The tags in a version's metadata, sorted; entries that can be no tag are passed over."""
    return tuple(sorted({tag for tag in metadata[KEY] if _is_tag(tag)})) if _is_ours(metadata) else ()


def without_tags(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata without its tags, and without what `cleared` had to leave behind."""
    gone = metadata.get(REMOVED)
    gone = gone if isinstance(gone, list) else []
    return {
        key: value
        for key, value in metadata.items()
        if key != REMOVED and not (value is None and key in gone) and not (key == KEY and _is_ours(metadata))
    }


def check_given(metadata: Mapping[str, Any]) -> None:
    """Raise InvalidArgument when metadata that somebody gives has entries that would read as ours."""
    if REMOVED in metadata or _is_ours(metadata):
        raise InvalidArgument(
            f"metadata has an entry {KEY!r} or {REMOVED!r}, which has a meaning of ours at Clarifai",
            tip="tags as tags, not inside the metadata",
        )


def with_tags(metadata: Mapping[str, Any], tags: Iterable[str]) -> dict[str, Any]:
    """Metadata to send: with these tags, an empty list for none, so that former ones go in any case.

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
    """What to send again when a service has merged metadata into the former instead of replacing it; None otherwise.

    Nothing can be taken out by merging, so entries that should be gone become null, and `dsver_removed` says which:
    a null without that is somebody's own.
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
