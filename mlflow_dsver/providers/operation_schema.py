"""Validation of a dataset's log entries, before they are applied.

A correct checksum proves that the bytes are those that were written, not that they are valid: a bug, another program
or an attacker may have written them.
"""

from __future__ import annotations

import getpass
import json
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.json_values import date_value, from_json
from mlflow_dsver.model.refs import DatasetRef, tag_list
from mlflow_dsver.text import encodable, text_of

MAX_DEPTH = 200
"""Maximum depth of nested objects and lists."""

_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")
_VERSION = re.compile(r"[0-9a-f]{6,64}\Z")
_SUM = re.compile(r"[0-9a-f]{32}\Z")
_MAX = 1 << 63


def read_operation(body: bytes) -> dict[str, Any]:
    """Parse and validate an entry's JSON. Raises ValueError, with the reason, for an invalid one."""
    try:
        operation = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    if not isinstance(operation, dict):
        raise ValueError("it is not an object")
    if b"\\ud" in body.lower():
        json.dumps(operation, ensure_ascii=False).encode()  # raises UnicodeEncodeError for a lone surrogate
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(operation)
    kind = operation.get("op")
    if not isinstance(kind, str) or kind not in _OPERATIONS:
        raise ValueError("its operation is unknown")
    from_json(_OPERATIONS[kind], operation)
    return operation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operation:
    """The fields of every operation, with their types in JSON."""

    dataset: str
    version: str
    at: Annotated[str, 64]
    by: str
    message: str | None = None
    metadata: Mapping[str, Any] | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    source: str | None = None
    kept: bool | None = None
    manifest: str | None = None
    grade: Annotated[str, 600] | None = None
    hold: tuple[Mapping[str, Any], ...] = ()
    release: tuple[Mapping[str, Any], ...] = ()
    foreign: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require("dataset", DatasetRef("local", self.dataset))
        _require("version", _VERSION.match(self.version))
        _require("at", date_value(self.at))
        _require("source", "\0" not in (self.source or ""))
        for each in (*self.hold, *self.release):
            Hold.from_json(each)
        _require("manifest", self.manifest is None or _SUM.match(self.manifest))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Creation(_Operation):
    digest: str
    files: int
    bytes: int

    def __post_init__(self) -> None:
        _Operation.__post_init__(self)
        _require("digest", _DIGEST.match(self.digest) and self.digest[7:].startswith(self.version))
        _require("files", 0 <= self.files < _MAX)
        _require("bytes", 0 <= self.bytes < _MAX)
        _require("kept", self.kept is not None)
        _require("manifest", self.manifest is not None)


_OPERATIONS = {"create": _Creation, "update": _Operation, "delete": _Operation}


def _require(name: str, valid: object) -> None:
    if not valid:
        raise ValueError(f"{name}: not what it should be")


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for each in level
            for child in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
        ]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")


# Message, tags and metadata from users, validated before anything is read or written


MAX_METADATA = 64 * 1024
"""Maximum bytes of a version's metadata as JSON, and of its message."""


def text_fields(message: str | None, tags: str | Iterable[str], metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Message, tags and metadata, validated; tags as for `tag_list`. Raises InvalidArgument, InvalidReference."""
    if message is not None and (not isinstance(message, str) or len(utf8(message)) > MAX_METADATA):
        raise InvalidArgument("not a message", expected=f"text of at most {MAX_METADATA} bytes")
    return {
        "message": message,
        "add_tags": list(tag_list(tags)),
        "metadata": None if metadata is None else _metadata(metadata),
    }


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as it will be read back. Raises InvalidArgument for values that JSON cannot represent."""
    expected = "a mapping from text to text, finite numbers, true, false, null, lists and such mappings"
    if not isinstance(metadata, Mapping):
        raise InvalidArgument("metadata is not a mapping", expected=expected, got=type(metadata).__name__)
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False)
        _check_keys(metadata, MAX_DEPTH - 2)
        found: dict[str, Any] = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"metadata is not JSON: {error}", expected=expected) from error
    if len(utf8(text)) > MAX_METADATA:
        raise InvalidArgument("metadata is too large", expected=f"at most {MAX_METADATA} bytes", got=len(text))
    return found


def _check_keys(value: object, depth: int) -> None:
    """Raise TypeError for keys that are not strings (JSON would convert them), ValueError for too many levels."""
    if depth <= 0:
        raise ValueError("it is nested too deep")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a key is not text")
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            _check_keys(each, depth - 1)


def utf8(text: str) -> bytes:
    """The text in UTF-8; raises InvalidArgument for a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument("a text that is not UTF-8", got=ascii(text)[:60]) from error


def creator() -> str:
    """The creator as user@host, as far as the operating system reports them."""
    try:
        user = text_of(getpass.getuser())
    except (OSError, KeyError, ImportError):
        user = "unknown"
    try:
        return encodable(f"{user}@{socket.gethostname()}")
    except OSError:
        return encodable(user)
