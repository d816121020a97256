"""Paperspace's JSON, under the vendor's own names: the v1 reference of March 2026 and its OpenAPI file.

Every model keeps the answer as it came in `raw` and takes keys that it does not know. What the documents call
"required, nullable" may be null here; what they do not may not, since an answer without it is not what was asked for.
"""

# ruff: noqa: N815 (the vendor's names)

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PrivateAttr, ValidationError

from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.text import one_line
from mlflow_dsver.versions import date_value

log = logging.getLogger(__name__)
_SIZE = re.compile(r"[0-9]{1,30}\Z", re.ASCII)


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


def _date(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("not a date")
    date = date_value(value)
    if date is None:
        raise ValueError("not a date")
    return date


Date = Annotated[datetime, BeforeValidator(_date)]
MaybeDate = Annotated[datetime | None, BeforeValidator(lambda value: value if value is None else _date(value))]
Size = Annotated[int | None, BeforeValidator(whole_bytes)]


class Model(BaseModel):
    """Base of all models; `read` makes one of an answer, or raises UnexpectedResponse."""

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
        try:
            made = cls.model_validate(cls.kept(value))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:3])
            text = one_line(wrong, 300)
            raise UnexpectedResponse(
                f"an answer that is no {cls.__name__}", got=text, payload=cls.kept(value), **parts
            ) from ValueError(text)
        made._raw.update(cls.kept(value))
        return made

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
    dtCreated: Date
    dtModified: Date
    isPublic: bool
    teamId: str
    storageProviderId: str | None = None
    description: str | None = None


class Version(Model):
    """A version of a dataset. usageBytes: in bytes, None when the service does not say.

    datasetId is not always the `ds…` handle that the version was asked for by.
    """

    version: str
    datasetId: str
    userId: str | None = None
    message: str | None = None
    metadata: dict[str, Any] | None = None
    isCommitted: bool
    url: str | None = None
    dtCreated: Date
    dtModified: Date
    tags: list[str]
    usageBytes: Size = None


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
    name: str
    isTeamDefault: bool | None = None
    isManaged: bool
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
    email: str
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

    datasetId: str
    version: str
