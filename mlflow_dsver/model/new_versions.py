"""A version to be created at the start of a run, as text or as a `NewVersion`.

As text it is the reference of a dataset with `?create` and the arguments as a URL query:
`local://digits?create&folder=data/digits&message=round 3&tag=clean`. `parse_new` parses the text and `str` formats
it; values are percent-encoded, `&`, `;` and `%` always.

Every provider accepts `folder`, `message`, `tag` (may be repeated), `metadata` (a JSON object) and `reference` (yes
or no), with the meaning of `Provider.create`; all other names are options of the provider.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any
from urllib.parse import quote, unquote

from mlflow_dsver.errors import InvalidArgument, InvalidReference
from mlflow_dsver.model.refs import CREATE, LATEST, DatasetRef, parse, tag_list
from mlflow_dsver.settings import OFF, ON
from mlflow_dsver.text import one_line

MAX_LENGTH = 100_000
"""Maximum number of characters of the text."""

_FORM = "provider://dataset?create&folder=…&message=…&tag=…&metadata={…}"
_PLAIN = "/:,@=+ {}\"'"
"""Characters that are not percent-encoded in a value, besides letters, digits and `_.-~`."""


@dataclass(frozen=True, slots=True, init=False)
class NewVersion:
    """A version that does not exist yet; as an input of a run, it is created when the run starts, and then linked.

    dataset: the dataset's reference, as text or parsed, without a selector. folder: with the files of the version;
    None if the provider creates versions of data that it already has. message, tags, metadata: stored with the
    version. reference: store only the manifest and leave the files where they are. options: further arguments of the
    provider's `create`, such as `{"commit": False}`.
    Raises InvalidReference for a malformed dataset or tag, InvalidArgument for metadata that is not JSON.
    """

    dataset: DatasetRef
    folder: str | None
    message: str | None
    tags: tuple[str, ...]
    metadata: Mapping[str, Any] | None
    reference: bool
    options: Mapping[str, str | int | bool]

    def __init__(
        self,
        dataset: str | DatasetRef,
        folder: str | PathLike[str] | None = None,
        message: str | None = None,
        tags: str | Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: bool = False,
        options: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        parsed = parse(dataset)
        if parsed.selector not in (None, LATEST):
            raise InvalidReference(
                "a new version has no id before it is created",
                reference=parsed,
                expected=parsed.at(None),
                tip="set tags with tags=[…], or &tag=… in text",
            )
        fields = {
            "dataset": parsed.at(None),
            "folder": None if folder is None else fspath(folder),
            "message": message,
            "tags": tag_list(tags),
            "metadata": metadata,
            "reference": reference,
            "options": dict(options or {}),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        fields = [
            ("folder", self.folder),
            ("message", self.message),
            *(("tag", tag) for tag in self.tags),
            ("metadata", None if self.metadata is None else self._metadata_text()),
            ("reference", "yes" if self.reference else None),
            *((name, _option_text(value)) for name, value in self.options.items()),
        ]
        written = [f"&{name}={_encoded(value)}" for name, value in fields if value is not None]
        return f"{self.dataset}?create{''.join(written)}"

    def __hash__(self) -> int:
        return hash(str(self))

    def _metadata_text(self) -> str:
        try:
            return json.dumps(self.metadata, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidArgument(
                "metadata is a JSON object", reference=self.dataset, got=one_line(error, 80)
            ) from error


def parse_new(text: str) -> NewVersion | None:
    """Parse the text form of a new version; None if the text does not request one.

    Raises InvalidReference for a malformed part.
    """
    text = text.strip(" \t\r\n")
    mark = CREATE.search(text)
    if mark is None:
        return None
    if len(text) > MAX_LENGTH:
        raise InvalidReference("the text of a new version is too long", expected=f"at most {MAX_LENGTH} characters")
    dataset, query = text[: mark.start()], text[mark.end() :]
    fields: dict[str, str] = {}
    tags: list[str] = []
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier() or name in fields:
            raise InvalidReference("malformed part of a new version", expected=_FORM, got=one_line(part, 80))
        decoded = _decoded(value)
        if name == "tag":
            tags.append(decoded)
        else:
            fields[name] = decoded
    return NewVersion(
        parse(dataset),
        fields.pop("folder", None),
        fields.pop("message", None),
        tuple(tags),
        _metadata(fields.pop("metadata", None)),
        yes_or_no("reference", fields.pop("reference", "no")),
        fields,
    )


def yes_or_no(name: str, text: str) -> bool:
    """Parse `yes`, `no` and the other spellings of a switch. Raises InvalidReference for any other text."""
    if text.lower() not in (*ON, *OFF):
        raise InvalidReference(name, expected="yes or no", got=one_line(text, 40))
    return text.lower() in ON


def _metadata(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        found = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise InvalidReference("metadata is a JSON object", got=one_line(text, 80)) from error
    if not isinstance(found, dict):
        raise InvalidReference("metadata is a JSON object", got=one_line(text, 80))
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _option_text(value: str | int | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _encoded(value: str) -> str:
    written = quote(value, safe=_PLAIN)
    return f"{written[:-1]}%20" if written.endswith(" ") else written  # parsing strips white space at the end


def _decoded(value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidReference("percent-encoding that is not UTF-8", got=one_line(value, 60)) from error
