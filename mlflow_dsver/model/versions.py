"""Dataset versions and links of runs to them.

`DatasetVersion` is one immutable state of a dataset at its provider, `Grade` states how much a link proves, and
`Link` connects a role of a run to a version. All are frozen values that compare by value and round-trip through JSON.
"""

from __future__ import annotations

import re
import socket
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from mlflow_dsver.model import json_values
from mlflow_dsver.model.refs import DatasetRef, check_role

Letter = Literal["A", "B", "C", "D"]
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

    ref: DatasetRef = field(metadata={"json": "reference"})
    dataset_name: str | None = field(default=None, kw_only=True)
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
    state: str | None = field(default=None, kw_only=True)
    web_url: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict, metadata={"hint": Mapping[str, float]})
    count_params: tuple[str, ...] = field(default=(), kw_only=True)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    grade_notes: tuple[str, ...] = field(default=(), kw_only=True)
    store: str | None = field(default=None, kw_only=True)

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
        return json_values.to_json(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetVersion:
        """Read what `to_json` returned; unknown keys are ignored, missing ones get their default.

        Raises ValueError, and nothing else, for any other JSON value.
        """
        return json_values.from_json(cls, data)


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
        data = json_values.to_json(self)
        keys = ("role", "requested", "created", "grade", "linked", "host", "version")
        return {"schema": 1} | {key: data[key] for key in keys if key != "created" or self.created is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Link:
        """Read what `to_json` returned, of this schema or an older one; raises ValueError for anything else."""
        json_values.check_schema(data, "a link", 1)
        return json_values.from_json(cls, data)


def this_host() -> str | None:
    """The host name of this machine; None if it has none."""
    try:
        return socket.gethostname() or None
    except OSError:
        return None


def now() -> datetime:
    """The present time, in UTC."""
    return datetime.now(UTC)
