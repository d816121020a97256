"""Paperspace's JSON under the vendor's names (v1 reference of March 2026), and its versions as `DatasetVersion`.

Every model keeps the answer as received in `raw` and accepts unknown keys. An answer without the id that it is about
is refused; any other field that is missing or malformed is None, with a warning that names it.

The service has no checksum, file count or token, so these are stored in a version's metadata under `mlflow_dsver`: a
token that identifies a version whose creation was not answered, and the content digest of the bytes where they were
available. The section is hidden from users' metadata and survives their updates.
"""

# ruff: noqa: N815 (the vendor's names)

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Set
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Self, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidationError

from mlflow_dsver.errors import InvalidArgument, InvalidReference, SettingsError, UnexpectedResponse
from mlflow_dsver.model.json_values import date_value
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import DatasetRef, check_name
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace.info import PAGE
from mlflow_dsver.text import one_line

log = logging.getLogger(__name__)
_SIZE = re.compile(r"[0-9]{1,30}\Z", re.ASCII)
_LEAP = re.compile(r"(.{10}.[0-9]{2}:[0-9]{2}):60(.*)", re.ASCII)


def whole_bytes(value: object) -> int | None:
    """`usageBytes` in bytes: decimal text, or a whole number; None for null and, with a warning, for all else."""
    if value is None:
        return None
    if isinstance(value, str) and _SIZE.match(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    log.warning("usageBytes is no size: %s; taken as unknown", one_line(value, 40))
    return None


def _date(value: object) -> datetime | None:
    """A date of RFC 3339, which allows lower case, and the second 60, taken for the next minute; null is None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("not a date")
    leap = _LEAP.fullmatch(value)
    try:
        date = date_value((leap[1] + ":59" + leap[2] if leap else value).upper())
        return None if date is None else (date + timedelta(seconds=1) if leap else date).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a date") from None


Date = Annotated[datetime | None, BeforeValidator(_date)]
Size = Annotated[int | None, BeforeValidator(whole_bytes)]
Tags = Annotated[
    list[str] | None, BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)
]
"""As a list, or as the text that the service takes; None when it is neither."""


class Model(BaseModel):
    """Base class of all models; `read` parses a response, or raises UnexpectedResponse.

    Fields without a default are required in a response.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    CONFIDENTIAL: ClassVar[bool] = False
    """Whether responses hold secrets, which no error may quote."""
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, value: object, operation: str, reference: object = None) -> Self:
        """The model of a JSON object; raises UnexpectedResponse for anything that is not one."""
        parts: dict[str, Any] = {"provider": "paperspace", "operation": operation, "reference": reference}
        if not isinstance(value, dict):
            kind = type(value).__name__ if value is not None else "null"
            payload = None if cls.CONFIDENTIAL else value
            raise UnexpectedResponse("not an object", expected=cls.__name__, got=kind, payload=payload, **parts)
        valid = cls.kept(value)
        try:
            try:
                made = cls.model_validate(valid)
            except ValidationError as error:
                invalid = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
                if not invalid or any(
                    cls.model_fields[name].is_required() for name in invalid & cls.model_fields.keys()
                ):
                    raise
                made = cls.model_validate({name: each for name, each in valid.items() if name not in invalid})
                named = one_line(valid.get("version") or valid.get("id"), 60)
                log.warning(
                    "Paperspace: %s of %s %s not understood; taken as unknown",
                    ", ".join(sorted(invalid)),
                    cls.__name__.lower(),
                    named,
                )
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
            text = one_line(wrong, 300)
            raise UnexpectedResponse(
                f"an answer that is no {cls.__name__}", got=text, payload=valid, **parts
            ) from ValueError(text)
        made._raw.update(valid)
        return made

    @classmethod
    def read_listed(cls, value: object, operation: str, reference: object = None) -> Self | None:
        """As `read`; None, with a warning, for a malformed entry of a listing."""
        try:
            return cls.read(value, operation, reference)
        except UnexpectedResponse as error:
            log.warning("%s: an entry is left out: %s", operation, error)
            return None

    @property
    def key(self) -> str:
        """What identifies this among others of its kind."""
        return str(getattr(self, "id", ""))

    @classmethod
    def kept(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a response that may be kept; all of it, unless a model holds secrets."""
        return dict(value)

    @property
    def raw(self) -> dict[str, Any]:
        """The response as received."""
        return self._raw


AnyModel = TypeVar("AnyModel", bound=Model)


class Dataset(Model):
    """A dataset: it has no size, tags or latest version of its own."""

    id: str
    name: str | None = None
    dtCreated: Date = None
    dtModified: Date = None
    isPublic: bool | None = None
    teamId: str | None = None
    storageProviderId: str | None = None
    description: str | None = None


class Version(Model):
    """A version of a dataset. usageBytes: in bytes, None when the service does not report it.

    datasetId may differ from the `ds…` handle that was requested. isCommitted, tags: None when missing or malformed.
    """

    version: Annotated[str, AfterValidator(lambda value: check_name(value, "a version's id"))]
    datasetId: str | None = None
    userId: str | None = None
    message: str | None = None
    metadata: dict[str, Any] | None = None
    isCommitted: bool | None = None
    url: str | None = None
    dtCreated: Date = None
    dtModified: Date = None
    tags: Tags = None
    usageBytes: Size = None

    @property
    def key(self) -> str:
        """The version's id."""
        return self.version


class S3Config(Model):
    """Where a storage provider keeps its objects; without its keys."""

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    signatureVersion: str | None = None
    retainData: bool | None = None


class StorageProvider(Model):
    """Where datasets are stored. The response holds keys of a bucket: they are dropped before anything is kept."""

    CONFIDENTIAL: ClassVar[bool] = True

    id: str
    name: str | None = None
    isTeamDefault: bool | None = None
    isManaged: bool | None = None
    s3Config: S3Config

    @classmethod
    def kept(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """Known fields only: whatever the service adds might be a secret as well."""
        config = value.get("s3Config")
        known = {key: value[key] for key in ("id", "name", "isTeamDefault", "isManaged") if key in value}
        if isinstance(config, dict):
            known["s3Config"] = {key: config[key] for key in S3Config.model_fields if key in config}
        return known


class Utilization(Model):
    """Bytes of a team's storage."""

    totalFreeStorage: Size = None
    remainingFreeStorage: Size = None
    totalUsage: Size = None
    modelUsage: Size = None
    datasetUsage: Size = None
    sharedStorageUsage: Size = None
    notebookWorkspaceUsage: Size = None


class User(Model):
    """Whom the key belongs to."""

    id: str
    email: str | None = None
    firstName: str | None = None
    lastName: str | None = None


class Team(Model):
    """Which team the key belongs to."""

    id: str
    namespace: str


class SessionInfo(Model):
    """Who is logged in."""

    user: User
    team: Team


class DeletedDataset(Model):
    """What deleting a dataset answers."""

    id: str


class DeletedVersion(Model):
    """What deleting a version answers."""

    datasetId: str | None = None
    version: str


# Versions


OWN = "mlflow_dsver"
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")
_STATES = {True: "committed", False: "uncommitted", None: "unknown"}


def to_version(dataset: str, version: Version, name: str | None = None) -> DatasetVersion:
    """Convert to a DatasetVersion.

    dataset: the requested id, since the response may have another kind of id. name: the dataset's, None where
    unknown.
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
    """A version's tags, without surrounding blanks and duplicates, which other programs may have written; [] when
    unknown.
    """
    return list(dict.fromkeys(tag.strip() for tag in version.tags or () if tag.strip()))


def own_section(version: Version) -> dict[str, Any]:
    """Our section of a version's metadata; {} when there is none."""
    section = (version.metadata or {}).get(OWN)
    return dict(section) if isinstance(section, dict) else {}


def peoples_metadata(version: Version) -> dict[str, Any]:
    """Users' metadata: without our section, and without removed keys that the service keeps as null."""
    removed = own_section(version).get("removed")
    gone = set(removed) if isinstance(removed, list) and all(isinstance(key, str) for key in removed) else set()
    metadata = version.metadata or {}
    return {key: value for key, value in metadata.items() if key != OWN and not (value is None and key in gone)}


def full_metadata(
    metadata: Mapping[str, Any] | None,
    own: Mapping[str, Any],
    removed: Set[str] = frozenset(),
) -> dict[str, Any]:
    """The metadata to send: users' metadata, removed keys as null, and our section, which lists the removed keys."""
    requested = dict(metadata or {})
    if OWN in requested:
        raise InvalidArgument(f"metadata has the key {OWN}, which is ours", tip="another key")
    section = {key: value for key, value in own.items() if key != "removed"}
    if removed:
        section["removed"] = sorted(removed)
    return {**requested, **dict.fromkeys(removed), OWN: section}


def described(token: str, manifest: Manifest | None) -> dict[str, Any]:
    """Our section for a new version."""
    section: dict[str, Any] = {"token": token}
    if manifest is not None:
        section |= {"content_digest": manifest.digest, "files": len(manifest), "bytes": manifest.total_bytes}
    return section


def page_of(dataset: str, version: str) -> str | None:
    """The address of a version's page by the configured template; None without one, since none is documented."""
    template = PAGE.get()
    if template is None:
        return None
    if not template.startswith(("https://", "http://")) or "{dataset}" not in template:
        raise SettingsError(
            PAGE.variable, expected="https://… with {dataset} and {version}", got=one_line(template, 60)
        )
    return template.replace("{dataset}", quote(dataset, safe="")).replace("{version}", quote(version, safe=""))
