"""A version that is to be made when a run starts, as a person writes it.

As text it is a dataset's reference with `?create` and, behind that, what the version gets, as in the query of an
address: `local://digits?create&folder=data/digits&message=round 3&tag=clean`. In Python it is a `NewVersion`.
`parse_new` reads the text, `str` writes it; values are percent-decoded and percent-encoded, `&`, `;` and `%` always.

Known to every provider are `folder`, `message`, `tag` (may be repeated), `metadata` (a JSON object) and `reference`
(yes or no), with the meaning of `Provider.create`; all other names are the provider's own options.
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
"""Characters of the text at most."""

_FORM = "provider://dataset?create&folder=…&message=…&tag=…&metadata={…}"
_PLAIN = "/:,@=+ {}\"'"
"""What stays as it is in a value, beside letters, digits and `_.-~`."""


@dataclass(frozen=True, slots=True, init=False)
class NewVersion:
    """A version that does not exist yet; given as a run's input, it is made when the run starts, and linked.

    dataset: the dataset's reference, as text or parsed, without a selector. folder: whose files the version has; None
    where the provider makes versions of what it holds. message, tags, metadata: kept with the version. reference:
    record what the files are and leave the bytes where they lie. options: what the provider's `create` takes beside
    these, by name, such as `{"commit": False}` for Paperspace or `{"annotation_filter": "…"}` for Clarifai.
    Raises InvalidReference for a dataset or a tag that is none, InvalidArgument for metadata that is not JSON.
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
                "a new version has no id before it is made",
                reference=parsed,
                expected=parsed.at(None),
                tip="tags=[…] gives it tags, or &tag=… in text",
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
    """What `str(NewVersion(…))` wrote, or a person in its place; None for a text that asks for no new version.

    Raises InvalidReference for a part that cannot be read.
    """
    text = text.strip(" \t\r\n")
    mark = CREATE.search(text)
    if mark is None:
        return None
    if len(text) > MAX_LENGTH:
        raise InvalidReference("too much to say of a new version", expected=f"at most {MAX_LENGTH} characters")
    dataset, query = text[: mark.start()], text[mark.end() :]
    given: dict[str, str] = {}
    tags: list[str] = []
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not equals or not name.isidentifier() or name in given:
            raise InvalidReference("a new version's part that cannot be read", expected=_FORM, got=one_line(part, 80))
        decoded = _decoded(value)
        if name == "tag":
            tags.append(decoded)
        else:
            given[name] = decoded
    return NewVersion(
        parse(dataset),
        given.pop("folder", None),
        given.pop("message", None),
        tuple(tags),
        _metadata(given.pop("metadata", None)),
        yes_or_no("reference", given.pop("reference", "no")),
        given,
    )


def yes_or_no(name: str, text: str) -> bool:
    """The switch that a text means. Raises InvalidReference for any other text."""
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
    return f"{written[:-1]}%20" if written.endswith(" ") else written  # blanks at the end of a text are passed over


def _decoded(value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidReference("percent-encoding that is not UTF-8", got=one_line(value, 60)) from error
