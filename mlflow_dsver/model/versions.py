"""Dataset versions and links of runs to them.

`DatasetVersion` is one immutable state of a dataset at its provider, `Grade` states how much a link proves, and
`Link` connects a role of a run to a version. All are frozen values that compare by value and round-trip through JSON.
"""

from __future__ import annotations

import re
import socket
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from mlflow_dsver.model.refs import DatasetRef, check_role, parse

Letter = Literal["A", "B", "C", "D"]
_LEAP_SECOND = re.compile(r"(.+T\d\d:\d\d):60(.*)\Z", re.IGNORECASE | re.ASCII)
MAX_NUMBER = 10**300
"""Sizes and counts that are read from JSON must be below this, so that they can be formatted."""
_GRADE = re.compile(r"([ABCD])(?: \(([^()]*)\))?\Z")


@dataclass(frozen=True, slots=True, order=True)
class Grade:
    """How much a link proves.

    A: the bytes were hashed here. B: the provider says that the version is immutable (committed, ready).
    C: only sizes, ETags or dates were compared. D: mutable, uncommitted or unknown.
    notes: circumstances of the link that matter, such as `offline` or `attached later`.
    Prints as `A` or `B (offline, attached later)`; `parse` reads that back. A better grade sorts first.
    """

    letter: Letter
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.letter not in get_args(Letter):
            raise ValueError(f"a grade is one of A, B, C, D, not {self.letter!r}")
        if any(not note or set(note) & set("(),") for note in self.notes):
            raise ValueError(f"a note is text without brackets and commas: {self.notes!r}")

    def __str__(self) -> str:
        return f"{self.letter} ({', '.join(self.notes)})" if self.notes else self.letter

    @classmethod
    def parse(cls, text: str) -> Grade:
        """Parse what `str` returns; raises ValueError for anything else."""
        found = _GRADE.match(text)
        if not found:
            raise ValueError(f"not a grade: {text[:40]!r}")
        return cls(found[1], tuple(found[2].split(", ")) if found[2] else ())  # type: ignore[arg-type]

    def with_notes(self, *notes: str) -> Grade:
        """The same grade with further notes, without duplicates."""
        return replace(self, notes=tuple(dict.fromkeys((*self.notes, *notes))))

    def noting(self, *notes: str) -> Grade:
        """The former name of `with_notes`; deprecated."""
        warnings.warn("Grade.noting is now Grade.with_notes", DeprecationWarning, stacklevel=2)
        return self.with_notes(*notes)

    def meets(self, required: Letter) -> bool:
        """Whether this grade is at least as good as the required letter."""
        return self.letter <= required


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """One immutable state of a dataset, as its provider describes it.

    ref: canonical reference; its selector is the version's id, never a tag or `latest`.
    tags: sorted. message: the author's text; None if there is none. metadata: any JSON object.
    usage_bytes: size in bytes as the provider reports it; None if it does not. Never a computed size.
    content_digest: `blake3:<hex>` of the version's manifest; None if the provider does not know the files' content.
    digest_is_claimed: the content digest was stored by a user and not computed from the files by this package.
    created, modified: with time zone; None if the provider does not report them. creator: as the provider names them.
    immutable: True if the provider guarantees that the content cannot change; None if that is unknown.
    web_url: http or https address of the version's web page; None if there is none.
    counts: the provider's other numbers under its own names (`export_bytes.coco`, `inputs_count`).
    count_params: names of those counts that are also logged as params of a run, such as `inputs_count`.
    state: the provider's name for the version's life-cycle state, such as `ready`, `pending`, `uncommitted`; None if
    its versions have no states.
    raw: the provider's unchanged response.
    dataset_name: the dataset's present display name, if `ref.dataset` is an id; else None.
    store: id of the store that has the version, for a provider with several stores (`local`); else None.
    grade_notes: problems found during the lookup, which the grade of a link repeats as notes.
    """

    ref: DatasetRef
    tags: tuple[str, ...] = ()
    message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    usage_bytes: int | None = None
    content_digest: str | None = None
    digest_is_claimed: bool = False
    created: datetime | None = None
    modified: datetime | None = None
    creator: str | None = None
    immutable: bool | None = None
    web_url: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    dataset_name: str | None = None
    grade_notes: tuple[str, ...] = ()
    state: str | None = None
    count_params: tuple[str, ...] = ()
    store: str | None = None

    def __post_init__(self) -> None:
        if self.ref.selector is None:
            raise ValueError(f"the reference of a version must have its id: {self.ref}")
        if self.usage_bytes is not None and self.usage_bytes < 0:
            raise ValueError(f"a size cannot be negative: {self.usage_bytes}")
        object.__setattr__(self, "tags", tuple(sorted(self.tags)))

    def __str__(self) -> str:
        return str(self.ref)

    def __hash__(self) -> int:  # the other fields include mappings, which cannot be hashed
        return hash((self.ref, self.content_digest))

    @property
    def id(self) -> str:
        """The version's id inside its dataset."""
        return self.ref.selector or ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field; dates in ISO 8601, UTC."""
        return {
            "reference": str(self.ref),
            "dataset_name": self.dataset_name,
            "tags": list(self.tags),
            "message": self.message,
            "metadata": dict(self.metadata),
            "usage_bytes": self.usage_bytes,
            "content_digest": self.content_digest,
            "digest_is_claimed": self.digest_is_claimed,
            "created": date_text(self.created),
            "modified": date_text(self.modified),
            "creator": self.creator,
            "immutable": self.immutable,
            "state": self.state,
            "web_url": self.web_url,
            "counts": dict(self.counts),
            "count_params": list(self.count_params),
            "raw": dict(self.raw),
            "grade_notes": list(self.grade_notes),
            "store": self.store,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetVersion:
        """Read what `to_json` returned; unknown keys are ignored, missing ones get their default.

        Raises ValueError, and nothing else, for any other JSON value.
        """
        data = _object(data, "a version")
        known: dict[str, Any] = {
            key: _typed(data, key, kind) for key, kind in _KINDS.items() if data.get(key) is not None
        }
        for key in ("tags", "grade_notes", "count_params"):
            known[key] = tuple(_texts(known.get(key, ()), key))
        numbers = [known.get("usage_bytes", 0), *known.get("counts", {}).values()]
        if not all(type(each) in (int, float) and each < MAX_NUMBER for each in numbers):
            raise ValueError("a size or a count is not a number, or out of range")
        for key in ("created", "modified"):
            known[key] = _date(data, key)
        return cls(ref=parse(data.get("reference", "")), **known)


@dataclass(frozen=True, slots=True)
class Link:
    """A run used a version in a role.

    requested: the requested reference, which may have a moving selector such as `latest`.
    grade: how much this link proves. linked: time of linking, with time zone. created: the requested new version as
    text, if the version was created for this run (see `new_versions`); None for an existing version. host: name of
    the machine that made the link; None if not recorded.
    """

    role: str
    requested: str
    version: DatasetVersion
    grade: Grade
    linked: datetime
    created: str | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        check_role(self.role)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads. `schema` is the version of the record's schema."""
        made = {} if self.created is None else {"created": self.created}
        return {
            "schema": 1,
            "role": self.role,
            "requested": self.requested,
            **made,
            "grade": str(self.grade),
            "linked": date_text(self.linked),
            "host": self.host,
            "version": self.version.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Link:
        """Read what `to_json` returned, of this schema or an older one; raises ValueError for anything else."""
        data = _object(data, "a link")
        schema = data.get("schema")
        if type(schema) is not int or schema != 1:
            raise ValueError(f"a link of schema {str(schema)[:40]!r}; this version reads schema 1")
        linked = _date(data, "linked")
        if linked is None:
            raise ValueError("a link without its date")
        return cls(
            role=_typed(data, "role", str),
            requested=_typed(data, "requested", str),
            version=DatasetVersion.from_json(_typed(data, "version", Mapping)),
            grade=Grade.parse(_typed(data, "grade", str)),
            linked=linked,
            created=None if data.get("created") is None else _typed(data, "created", str),
            host=None if data.get("host") is None else _typed(data, "host", str),
        )


_KINDS: Mapping[str, type] = {
    "tags": Sequence,
    "message": str,
    "metadata": Mapping,
    "usage_bytes": int,
    "content_digest": str,
    "digest_is_claimed": bool,
    "creator": str,
    "immutable": bool,
    "web_url": str,
    "counts": Mapping,
    "raw": Mapping,
    "dataset_name": str,
    "grade_notes": Sequence,
    "count_params": Sequence,
    "state": str,
    "store": str,
}
"""The types of a version's fields in JSON, without its reference and dates."""


def _object(data: object, what: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise ValueError(f"{what} is a JSON object, not {type(data).__name__}")
    return data


def _typed(data: Mapping[str, Any], key: str, kind: type) -> Any:
    value = data.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(f"{key} is {type(value).__name__}, not {kind.__name__}")
    return value


def _texts(value: Any, key: str) -> Sequence[str]:
    if isinstance(value, str) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key} is not a list of strings")
    return tuple(value)


def _date(data: Mapping[str, Any], key: str) -> datetime | None:
    value = None if data.get(key) is None else _typed(data, key, str)
    try:
        date = date_value(value)
        date_text(date)  # raises OverflowError if the year is out of range in UTC
    except OverflowError as error:
        raise ValueError(f"{key} is out of range") from error
    return date


def this_host() -> str | None:
    """The host name of this machine; None if it has none."""
    try:
        return socket.gethostname() or None
    except OSError:
        return None


def now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)


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
