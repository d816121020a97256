"""What people say of a version (message, tags, metadata), checked before anything is read or written.

What passes is read back as it was given, by any program, in ten years: bounded, UTF-8, and JSON in the strict sense.
"""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.refs import tag_list
from mlflow_dsver.os_names import encodable, text_of
from mlflow_dsver.providers.local.log_schema import MAX_DEPTH

MAX_METADATA = 64 * 1024
"""Bytes of a version's metadata as JSON at most; of its message as well."""


def words_of(message: str | None, tags: str | Iterable[str], metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """What people say of a version, checked; tags as for `tag_list`. Raises InvalidArgument, InvalidReference."""
    if message is not None and (not isinstance(message, str) or len(utf8(message)) > MAX_METADATA):
        raise InvalidArgument("not a message", expected=f"text of at most {MAX_METADATA} bytes")
    return {
        "message": message,
        "add_tags": list(tag_list(tags)),
        "metadata": None if metadata is None else _metadata(metadata),
    }


def _metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata as it will be read back. Raises InvalidArgument for what JSON cannot say."""
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
    """Raise TypeError for keys that are no text (JSON would make text of them), ValueError for more levels."""
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
    """The text in UTF-8; raises InvalidArgument for one that has half a character in it."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument("a text that is not UTF-8", got=ascii(text)[:60]) from error


def creator() -> str:
    """user@host, as far as this machine knows."""
    try:
        user = text_of(getpass.getuser())
    except (OSError, KeyError, ImportError):
        user = "unknown"
    try:
        return encodable(f"{user}@{socket.gethostname()}")
    except OSError:
        return encodable(user)
