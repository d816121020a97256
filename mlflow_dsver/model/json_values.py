"""Frozen dataclasses to JSON and back, by the type hints of their fields.

`to_json` returns an object with every field, in the order of the class; `from_json` reads it back and checks every
type. Fields are: bool, int, float, str, string enums, dates, references, lists, mappings, other dataclasses, each
also with `| None`; classes with a `parse` of text, such as grades; and `Any`, which is neither converted nor checked.
A nested class that has its own `to_json` and `from_json` is written and read by these.

`Annotated[str, 256]` is a text of at most 256 characters, `Annotated[tuple[Link, ...], 9]` at most 9 links. Metadata
of a field: `json` is its key, if that is not its name; `hint` is its type in JSON, if that is not its own.

Written by hand, elsewhere: JSON that is not one value but a view of several or of their properties (most reports of
commands, exports). Read by hand: manifests and lock files, whose errors name a line or a role, and the source of a
dataset input (`record.dataset_source`), which ignores what is invalid and is loaded with MLflow.

The standard library alone: importing pydantic takes 40 to 60 ms and msgspec 27 ms, and `import mlflow_dsver` has to
stay below 30 ms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from mlflow_dsver.model.refs import DatasetRef, parse

MAX_NUMBER = 10**300
"""Numbers that are read must be below this, so that they can be formatted."""

_Value = TypeVar("_Value")
_Convert = Callable[[Any], Any]
_LEAP_SECOND = re.compile(r"(.+T\d\d:\d\d):60(.*)\Z", re.IGNORECASE | re.ASCII)


def to_json(value: object) -> dict[str, Any]:
    """The JSON object of a dataclass, with every field; dates in ISO 8601, UTC."""
    data = {}
    cls: Any = type(value)
    for field in _fields(cls):
        part = getattr(value, field.name)
        data[field.key] = part if part is None or field.write is None else field.write(part)
    return data


def from_json(cls: type[_Value], data: Any) -> _Value:
    """Read what `to_json` returned; unknown keys are ignored, a missing key or a null gives the field's default.

    Raises ValueError, and nothing else, for any other JSON value; the message starts with the key.
    """
    known = {}
    _checked(data, "an object", Mapping)
    for field in _fields(cast(Any, cls)):
        value = data.get(field.key)
        if value is not None:
            try:
                value = field.read(value)
            except ValueError as error:
                raise ValueError(f"{field.key}: {error}") from error
        if value is not None or (field.optional and field.key in data):
            known[field.name] = value
        elif field.required:
            raise ValueError(f"{field.key}: missing")
    return cls(**known)


def check_schema(data: object, what: str, schema: int) -> None:
    """Raise ValueError unless the data are an object of this schema; what: its name in the message."""
    found = data.get("schema") if isinstance(data, Mapping) else None
    if type(found) is not int or found != schema:
        shown = type(found) if isinstance(found, list | dict) else found
        raise ValueError(f"{what} of schema {shown!r:.40}; this version reads schema {schema}")


class _Field(NamedTuple):
    """How a field is converted. write: None if its value is JSON already. optional: its value may be None."""

    name: str
    key: str
    required: bool
    optional: bool
    read: _Convert
    write: _Convert | None


@cache
def _fields(cls: Any) -> tuple[_Field, ...]:
    hints, found = get_type_hints(cls, include_extras=True), []
    for each in fields(cls):
        hint = each.metadata.get("hint", hints[each.name])
        required = each.default is MISSING and each.default_factory is MISSING
        key = each.metadata.get("json", each.name)
        found.append(_Field(each.name, key, required, type(None) in get_args(hint), *_converters(hint)))
    return tuple(found)


def _converters(hint: Any) -> tuple[_Convert, _Convert | None]:
    """How values of a type are read and written; the latter is None if they are JSON already."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind in (UnionType, Union):
        return _converters(*(each for each in inner if each is not type(None)))
    if kind is Annotated:
        read, write = _converters(inner[0])
        return (lambda value: read(_short(value, inner[1]))), write
    if kind in (tuple, list):
        read, write = _converters(inner[0])
        write_all = (lambda value: list(map(write, value))) if write else list
        return (lambda value: kind(map(read, _checked(value, "a list", list, tuple)))), write_all
    if kind in (Mapping, dict):
        return _mapping(*inner)
    if kind is Any:
        return (lambda value: value), None
    if kind is Literal:
        return (lambda value: _one_of(value, inner)), None
    if kind in (bool, str):
        return (lambda value: _checked(value, kind.__name__, kind)), None
    if kind in (int, float):
        return (lambda value: _number(_checked(value, kind.__name__, kind, int))), None
    if hasattr(kind, "to_json"):
        own: Any = getattr(kind, "from_json", None)  # None for a class that is only written
        return own, kind.to_json
    if kind is datetime:
        return (lambda value: date_value(_checked(value, "str", str))), date_text
    if hasattr(kind, "parse") or kind is DatasetRef or issubclass(kind, Enum):
        made = parse if kind is DatasetRef else getattr(kind, "parse", kind)
        return (lambda value: made(_checked(value, "str", str))), str
    return (lambda value: from_json(kind, value)), to_json


def _mapping(key: Any, item: Any) -> tuple[_Convert, _Convert]:
    read_key, (read, write) = _converters(key)[0], _converters(item)

    def read_all(value: Any) -> Any:
        _checked(value, "an object", Mapping)
        return value if item is Any else {read_key(name): read(part) for name, part in value.items()}

    return read_all, (lambda value: {name: write(part) for name, part in value.items()}) if write else dict


def _checked(value: Any, what: str, *kinds: type) -> Any:
    if not isinstance(value, kinds):
        raise ValueError(f"{type(value).__name__}, not {what}")
    return value


def _one_of(value: Any, allowed: tuple[Any, ...]) -> Any:
    if type(value) is not str or value not in allowed:
        raise ValueError(f"{ascii(value)[:40]}, not one of {', '.join(allowed)}")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not -MAX_NUMBER < value < MAX_NUMBER:
        raise ValueError("not a number, or out of range")
    return value


def _short(value: Any, limit: int) -> Any:
    if isinstance(value, str | list | tuple) and len(value) > limit:
        raise ValueError(f"no {'text' if isinstance(value, str) else 'list'} of at most {limit:,}")
    return value


def date_text(date: datetime | None) -> str | None:
    """ISO 8601 in UTC with `Z`; microseconds only if they are not 0."""
    if date is None:
        return None
    return date.astimezone(UTC).isoformat().replace("+00:00", "Z")


def date_value(text: str | None) -> datetime | None:
    """Parse a date in ISO 8601 or RFC 3339; UTC is assumed without a time zone, and nanoseconds are truncated.

    Accepts lower-case `t` and `z`; second 60, a leap second, is the moment after second 59. Returns None for None and
    for an empty text. Raises ValueError for anything else.
    """
    if not text:
        return None
    leap = _LEAP_SECOND.match(text)
    try:
        # fromisoformat accepts neither second 60 nor a lower-case z, which RFC 3339 allows.
        date = datetime.fromisoformat((f"{leap[1]}:59{leap[2]}" if leap else text).upper())
        date = (date if date.tzinfo else date.replace(tzinfo=UTC)) + timedelta(seconds=1 if leap else 0)
        date.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("a date outside the years 1 to 9999") from error
    return date
