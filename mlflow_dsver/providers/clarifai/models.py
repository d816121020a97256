"""Clarifai's JSON and its numbers, under their published names: statuses, request origins, export formats.

Every field is optional, unknown fields are kept, and `raw` has the answer as received. Enumerations come as numbers
or as names; both are read. An unknown number or name is passed on unchanged: never take it for a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from enum import IntEnum, StrEnum
from functools import partial
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.model.json_values import date_value

SUCCESS = 10000
"""The only status of a response that means success."""


class VersionStatus(IntEnum):
    """The statuses of a dataset version."""

    PENDING = 64005
    IN_PROGRESS = 64010
    READY = 64015
    FAILURE = 64020
    UNEXPECTED_ERROR = 64025
    CONFLICT = 64030


class ExportStatus(IntEnum):
    """The statuses of an export of a dataset version."""

    SUCCESS = 64200
    PENDING = 64201
    FAILED = 64202
    IN_PROGRESS = 64203
    UNEXPECTED_ERROR = 64204


class Origin(IntEnum):
    """What requested a version. Training and evaluation create versions too."""

    NOT_SET = 0
    MANUAL = 1
    TRAINING = 2
    EVAL_GROUND_TRUTH = 3
    EVAL_PREDICTIONS = 4


class Format(StrEnum):
    """Formats of an export; the value is its key in `export_info`."""

    PROTOBUF = "clarifai_data_protobuf"
    COCO = "coco"
    JSON = "clarifai_data_json"

    @property
    def number(self) -> int:
        """The format's number in responses."""
        return {Format.PROTOBUF: 1, Format.COCO: 2, Format.JSON: 3}[self]


STATUS_NAMES: Mapping[str, int] = {
    "SUCCESS": SUCCESS,
    "MIXED_STATUS": 10010,
    "FAILURE": 10020,
    "CONN_THROTTLED": 11005,
    "CONN_INSUFFICIENT_SCOPES": 11007,
    "CONN_KEY_INVALID": 11008,
    "CONN_KEY_NOT_FOUND": 11009,
    "CONN_BAD_REQUEST_FORMAT": 11100,
    "CONN_DOES_NOT_EXIST": 11101,
    "CONN_INVALID_REQUEST": 11102,
    "CONN_METHOD_NOT_ALLOWED": 11103,
    **{f"DATASET_VERSION_{status.name}": status.value for status in VersionStatus},
    **{f"DATASET_VERSION_EXPORT_{status.name}": status.value for status in ExportStatus},
}
"""Names of statuses; the API sends numbers, and one page of its documentation prints a name."""

ORIGIN_NAMES: Mapping[str, int] = {origin.name: origin.value for origin in Origin}
GETTABLE: Mapping[str, int] = {"PRIVATE": 10, "ORG": 30, "PUBLIC": 50}
"""Who may see a version."""
FORMAT_NAMES: Mapping[str, int] = {format_.value.upper(): format_.number for format_ in Format}

HTTP_OF = {
    10010: 400,  # some of the items failed
    10020: 400,  # all of them
    10030: 503,  # try again
    11000: 402,  # account or plan
    11003: 429,
    11004: 429,
    11005: 429,
    11006: 429,
    11007: 403,
    11008: 401,
    11009: 401,
    11100: 400,
    11101: 404,
    11102: 400,
    11103: 405,
    64030: 409,
}
"""The HTTP status that a code means, whatever the response's HTTP status."""


def number(value: object, names: Mapping[str, int]) -> int | str | None:
    """A number, digits, or a known name as its number; another name as it is; None for nothing.

    Raises ValueError for what is neither text nor a whole number.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str) and value in names:
        return names[value]
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        return value
    return whole(value)


def whole(value: object) -> int | None:
    """An integer from a number or a string; None for None. Raises ValueError for anything else."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a whole number")
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("not a whole number")
    if isinstance(value, str) and not (value.isascii() and value.lstrip("-").isdigit() and len(value) <= 20):
        raise ValueError("not a whole number")
    return int(value)


# JSON


def _date(value: object) -> datetime | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("not a date")
    return date_value(value)


def _mapping(value: object) -> object:
    return {} if value is None else value


Whole = Annotated[int | None, BeforeValidator(whole)]
StatusCode = Annotated[int | str | None, BeforeValidator(partial(number, names=STATUS_NAMES))]
OriginCode = Annotated[int | str | None, BeforeValidator(partial(number, names=ORIGIN_NAMES))]
FormatCode = Annotated[int | str | None, BeforeValidator(partial(number, names=FORMAT_NAMES))]
Date = Annotated[datetime | None, BeforeValidator(_date)]
Object = Annotated[Mapping[str, Any], BeforeValidator(_mapping)]


class Model(BaseModel):
    """Base class: `raw` is the JSON object as received."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=False)
    _raw: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, value: object) -> Self:
        """Parse a JSON object; raises UnexpectedResponse, with the object, for an invalid one."""
        try:
            made = cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the answer"
            raise UnexpectedResponse(
                f"a {cls.__name__} that cannot be read: {where}: {first['msg']}", payload=value
            ) from None
        made._raw = value if isinstance(value, dict) else {}
        return made

    @property
    def raw(self) -> Mapping[str, Any]:
        """The JSON object as received."""
        return self._raw


class Listed(Model):
    """An item of a listing: a field that cannot be read counts as missing, so that one item does not break a listing.

    `unread` names such fields; the raw answer has them. Only an item that is no object, or whose id is no text, is
    refused.
    """

    _unread: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _pass_over(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            bad = {str(each["loc"][0]) for each in error.errors(include_input=False) if each["loc"]}
            if not isinstance(value, dict) or not bad or "id" in bad:
                raise
        made = handler({name: each for name, each in value.items() if name not in bad})
        made._unread = tuple(sorted(bad))
        return made

    @property
    def unread(self) -> tuple[str, ...]:
        """Names of the fields that could not be read, sorted."""
        return self._unread


class Status(Model):
    """The status of a response or of an item in it."""

    code: StatusCode = None
    description: str | None = None
    details: str | None = None
    percent_completed: Whole = None

    def __str__(self) -> str:
        parts = [str(self.code if self.code is not None else "no code"), self.description, self.details]
        return " ".join(part for part in parts if part)


class Export(Model):
    """An export of a version in one format. size: bytes of the archive, which holds records and no media."""

    format: FormatCode = None
    status: Status | None = None
    url: str | None = None
    size: Whole = None


class DatasetVersion(Listed):
    """A snapshot of a dataset."""

    id: str = ""
    created_at: Date = None
    modified_at: Date = None
    user_id: str | None = None
    app_id: str | None = None
    dataset_id: str | None = None
    status: Status | None = None
    description: str | None = None
    metadata: Object = {}
    metrics: Object = {}
    export_info: Object = {}
    request_origin: OriginCode = None
    annotation_filter_config: Mapping[str, Any] | None = None
    model_predict_config: Mapping[str, Any] | None = None
    processing_info: Mapping[str, Any] | None = None
    visibility: Mapping[str, Any] | None = None

    @property
    def code(self) -> int | str | None:
        """The code of its status; None if the response has none."""
        return self.status.code if self.status else None

    def export(self, format_: Format) -> Export | None:
        """The export in a format; None if there is none."""
        found = self.export_info.get(format_.value)
        return None if found is None else Export.read(found)

    def counts(self) -> dict[str, int]:
        """Counts of the version by name: those of its root's metrics, and `export_bytes.<format>`."""
        found = counts(self.metrics.get("/"))
        for format_ in Format:
            export = self.export_info.get(format_.value)
            with suppress(ValueError):
                size = whole(export.get("size")) if isinstance(export, Mapping) else None
                if size is not None and size >= 0:
                    found[f"export_bytes.{format_.value}"] = size
        return found


class Dataset(Listed):
    """A dataset of an app."""

    id: str = ""
    created_at: Date = None
    modified_at: Date = None
    user_id: str | None = None
    app_id: str | None = None
    description: str | None = None
    metadata: Object = {}
    version: Mapping[str, Any] | None = None


class MetricsGroup(Listed):
    """Counts of a part of a version: inputs of one type, with one concept, …"""

    parent_path: str | None = None
    type: int | str | None = None
    value: Any = None
    metrics: Object = {}


class AnnotationFilter(Listed):
    """Selects the annotations of a version."""

    id: str = ""
    search: Mapping[str, Any] | None = None


class DatasetInput(Listed):
    """A current input of a dataset (a version keeps those it was created from)."""

    created_at: Date = None
    input: Object = {}


def counts(metrics: object) -> dict[str, int]:
    """Every `…_count` of a metrics object as an integer; other keys are left out."""
    if not isinstance(metrics, Mapping):
        return {}
    found = {}
    for name, value in sorted(metrics.items()):
        if name.endswith("_count"):
            try:
                size = whole(value)
            except ValueError:
                continue
            if size is not None and size >= 0:
                found[name] = size
    return found
