"""Clarifai's JSON as it comes: the vendor's names, every field optional, unknown fields kept, the raw answer too.

Unset fields are left out by the service, whole numbers of 64 bits are texts, fractions of a second have six or
nine digits, enumerations are numbers or names: all of that is read, and nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
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
from mlflow_dsver.model.versions import date_value
from mlflow_dsver.providers.clarifai.codes import FORMAT_NAMES, ORIGIN_NAMES, STATUS_NAMES, Format, number, whole


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
    """Base of all: `raw` is the JSON object that it was read from, untouched."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=False)
    _raw: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def read(cls, value: object) -> Self:
        """Read a JSON object; raises UnexpectedResponse, which keeps it, when it is of another shape."""
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
        """The JSON object as it came."""
        return self._raw


class Listed(Model):
    """What listings are made of: a field that cannot be read counts as not sent, so that one item spoils no listing.

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
    """A status, of an answer or of an item in it."""

    code: StatusCode = None
    description: str | None = None
    details: str | None = None
    percent_completed: Whole = None

    def __str__(self) -> str:
        words = [str(self.code if self.code is not None else "no code"), self.description, self.details]
        return " ".join(word for word in words if word)


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
        """The code of its status; None when the answer has none."""
        return self.status.code if self.status else None

    def export(self, format_: Format) -> Export | None:
        """What the answer says of the export in a format; None when there never was one."""
        found = self.export_info.get(format_.value)
        return None if found is None else Export.read(found)

    def counts(self) -> dict[str, int]:
        """Whole numbers of the version by name: those of the metrics of its root, and `export_bytes.<format>`."""
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
    """Which annotations a version is made of."""

    id: str = ""
    search: Mapping[str, Any] | None = None


class DatasetInput(Listed):
    """An input that belongs to a dataset now (a version keeps those it was made of)."""

    created_at: Date = None
    input: Object = {}


def counts(metrics: object) -> dict[str, int]:
    """Every `…_count` of a metrics object as a whole number; other things in it are left out."""
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
