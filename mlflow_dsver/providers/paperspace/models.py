"""Paperspace's JSON, under the vendor's own names: the v1 reference of March 2026 and its OpenAPI file.

Every model keeps the answer as it came in `raw` and takes keys that it does not know. An answer without the id that
it is about is refused. Any other field may be missing or of a form that is not understood: it is None then, with a
warning that names it, so that one odd entry does not take a whole listing away, and nothing is guessed.
"""

# ruff: noqa: N815 (the vendor's names)

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidationError

from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.model.refs import check_name
from mlflow_dsver.model.versions import date_value
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
    """Base of all models; `read` makes one of an answer, or raises UnexpectedResponse.

    Fields without a default are those that an answer must have.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    CONFIDENTIAL: ClassVar[bool] = False
    """Whether answers hold secrets, which no error may quote."""
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, value: object, operation: str, reference: object = None) -> Self:
        """The model of a JSON object; raises UnexpectedResponse for anything that is not one."""
        parts: dict[str, Any] = {"provider": "paperspace", "operation": operation, "reference": reference}
        if not isinstance(value, dict):
            kind = type(value).__name__ if value is not None else "null"
            payload = None if cls.CONFIDENTIAL else value
            raise UnexpectedResponse("not an object", expected=cls.__name__, got=kind, payload=payload, **parts)
        kept = cls.kept(value)
        try:
            try:
                made = cls.model_validate(kept)
            except ValidationError as error:
                odd = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
                if not odd or any(cls.model_fields[name].is_required() for name in odd & cls.model_fields.keys()):
                    raise
                made = cls.model_validate({name: each for name, each in kept.items() if name not in odd})
                named = one_line(kept.get("version") or kept.get("id"), 60)
                log.warning(
                    "Paperspace: %s of %s %s not understood; taken as unknown",
                    ", ".join(sorted(odd)),
                    cls.__name__.lower(),
                    named,
                )
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
            text = one_line(wrong, 300)
            raise UnexpectedResponse(
                f"an answer that is no {cls.__name__}", got=text, payload=kept, **parts
            ) from ValueError(text)
        made._raw.update(kept)
        return made

    @classmethod
    def read_listed(cls, value: object, operation: str, reference: object = None) -> Self | None:
        """As `read`; None, with a warning, for an entry of a listing that is none."""
        try:
            return cls.read(value, operation, reference)
        except UnexpectedResponse as error:
            log.warning("%s: an entry is left out: %s", operation, error)
            return None

    @property
    def key(self) -> str:
        """What tells this from others of its kind."""
        return str(getattr(self, "id", ""))

    @classmethod
    def kept(cls, value: Mapping[str, Any]) -> dict[str, Any]:
        """What may be kept of an answer; all of it, unless a model holds secrets."""
        return dict(value)

    @property
    def raw(self) -> dict[str, Any]:
        """The answer as it came."""
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
    """A version of a dataset. usageBytes: in bytes, None when the service does not say.

    datasetId is not always the `ds…` handle that the version was asked for by. isCommitted, tags: None when the
    service does not say so in a form that is understood.
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
    """Where datasets lie. The answer holds keys of a bucket: they are dropped before anything is kept."""

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
