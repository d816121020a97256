"""Paperspace's versions in our words, and the section of a version's metadata that is ours.

The service knows no checksum, no file count and no token, so what we need stands in `metadata` under
`mlflow_dsver`: a token by which a version is recognised whose creation was not answered, and the content digest of
the bytes where they were at hand. It is hidden from people's metadata and survives their updates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any
from urllib.parse import quote

from mlflow_dsver.errors import InvalidArgument, InvalidReference, SettingsError, UnexpectedResponse
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace.info import PAGE
from mlflow_dsver.providers.paperspace.models import Version
from mlflow_dsver.text import one_line

OWN = "mlflow_dsver"
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")
_STATES = {True: "committed", False: "uncommitted", None: "unknown"}


def to_version(dataset: str, version: Version, name: str | None = None) -> DatasetVersion:
    """A version in our words.

    dataset: the id that was asked for, since the answer's may be another kind of id. name: the dataset's, None where
    it is not known.
    """
    try:
        ref = DatasetRef("paperspace", dataset, version.version)
    except InvalidReference as error:
        raise UnexpectedResponse(
            "a version with an id that is none", provider="paperspace", got=one_line(version.version, 60)
        ) from error
    digest = own_section(version).get("content_digest")
    claimed = isinstance(digest, str) and _DIGEST.match(digest) is not None
    return DatasetVersion(
        ref=ref,
        tags=tuple(tags_of(version)),
        message=version.message or None,
        metadata=peoples_metadata(version),
        usage_bytes=version.usageBytes,
        content_digest=str(digest) if claimed else None,
        digest_is_claimed=claimed,
        created=version.dtCreated,
        modified=version.dtModified,
        creator=version.userId,
        immutable=version.isCommitted,
        state=_STATES[version.isCommitted],
        web_url=page_of(dataset, version.version),
        raw=version.raw,
        dataset_name=name or None,
    )


def tags_of(version: Version) -> list[str]:
    """A version's tags, without blanks around them and doubles, which other programs may have written; [] where it is
    not known which it has.
    """
    return list(dict.fromkeys(tag.strip() for tag in version.tags or () if tag.strip()))


def own_section(version: Version) -> dict[str, Any]:
    """Our section of a version's metadata; {} when there is none."""
    section = (version.metadata or {}).get(OWN)
    return dict(section) if isinstance(section, dict) else {}


def peoples_metadata(version: Version) -> dict[str, Any]:
    """Metadata without our section, and without keys that were removed where the service keeps them as null."""
    removed = own_section(version).get("removed")
    gone = set(removed) if isinstance(removed, list) and all(isinstance(key, str) for key in removed) else set()
    metadata = version.metadata or {}
    return {key: value for key, value in metadata.items() if key != OWN and not (value is None and key in gone)}


def full_metadata(
    metadata: Mapping[str, Any] | None,
    own: Mapping[str, Any],
    removed: Set[str] = frozenset(),
) -> dict[str, Any]:
    """What is sent: people's metadata, keys to be removed as null, and our section that says which these are."""
    wanted = dict(metadata or {})
    if OWN in wanted:
        raise InvalidArgument(f"metadata has the key {OWN}, which is ours", tip="another key")
    section = {key: value for key, value in own.items() if key != "removed"}
    if removed:
        section["removed"] = sorted(removed)
    return {**wanted, **dict.fromkeys(removed), OWN: section}


def described(token: str, manifest: Manifest | None) -> dict[str, Any]:
    """Our section for a new version."""
    section: dict[str, Any] = {"token": token}
    if manifest is not None:
        section |= {"content_digest": manifest.digest, "files": len(manifest), "bytes": manifest.total_bytes}
    return section


def page_of(dataset: str, version: str) -> str | None:
    """The address of a version's page by the template that is set; None without one, since none is documented."""
    template = PAGE.get()
    if template is None:
        return None
    if not template.startswith(("https://", "http://")) or "{dataset}" not in template:
        raise SettingsError(
            PAGE.variable, expected="https://… with {dataset} and {version}", got=one_line(template, 60)
        )
    return template.replace("{dataset}", quote(dataset, safe="")).replace("{version}", quote(version, safe=""))
