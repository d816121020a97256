"""Tables, fields and lines for people, from values: pure functions that escape every text from outside.

A `Block` is what `output.emit` writes. What a program reads is the values' own `to_json`, in an object whose keys
the README lists; keys are added and never renamed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow_dsver.model.evidence import STRONG
from mlflow_dsver.model.manifests import SCHEMA, FileEntry, Manifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.text import human_bytes, human_count, one_line

NONE = "–"
"""What stands where there is nothing."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under column names. empty: the line that is shown instead when there is no row."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str
    right: frozenset[str] = frozenset()
    """Columns aligned to the right."""


@dataclass(frozen=True, slots=True)
class Fields:
    """One thing: what each of its fields is called, and its value."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines as they are, produced while they are written."""

    lines: Iterable[str]


Block = Table | Fields | Lines


def line(text: str) -> Lines:
    """A single sentence."""
    return Lines((text,))


def table(columns: str, rows: Iterable[Iterable[object]], *, empty: str, right: str = "") -> Table:
    """A table; columns and those aligned to the right are named in one text, separated by blanks."""
    made = tuple(tuple(cell(value) for value in row) for row in rows)
    return Table(tuple(columns.split()), made, empty, frozenset(right.split()))


def fields(**values: object) -> Fields:
    """Fields with a value; an underscore in a name is a blank, and what is None is left out."""
    pairs = ((name.replace("_", " "), cell(value)) for name, value in values.items() if value is not None)
    return Fields(tuple(pairs))


def cell(value: object) -> str:
    """A value for people, on one line: dates in UTC, lists separated by commas, nothing as a dash."""
    if value is None or value in ("", (), []):
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, list | tuple):
        return ", ".join(cell(each) for each in value)
    return one_line(value, 1000)


def versions(found: Iterable[DatasetVersion]) -> Table:
    """Versions, one a line, in the order given; with their states where one has a state."""
    found = list(found)
    has_states = any(each.state for each in found)
    rows = (
        (
            each.ref,
            *((each.state,) if has_states else ()),
            each.created,
            human_bytes(each.usage_bytes),
            each.tags,
            each.message,
        )
        for each in found
    )
    columns = f"VERSION {'STATE ' if has_states else ''}CREATED SIZE TAGS MESSAGE"
    return table(columns, rows, empty="no versions", right="SIZE")


def version(found: DatasetVersion) -> Fields:
    """Everything that is known of one version, the provider's raw answer left out."""
    claimed = " (claimed, not computed from the bytes)" if found.digest_is_claimed else ""
    size = human_bytes(found.usage_bytes)
    exact = f" ({human_count(found.usage_bytes, 'byte')})" if found.usage_bytes is not None else ""
    known = fields(
        version=found.ref,
        dataset=found.dataset_name,
        message=found.message,
        tags=found.tags,
        size=size + exact,
        content_digest=(found.content_digest or "unknown") + claimed,
        created=found.created,
        modified=found.modified,
        creator=found.creator,
        state=found.state,
        immutable="unknown" if found.immutable is None else found.immutable,
        web_page=found.web_url,
        metadata=json.dumps(dict(found.metadata), ensure_ascii=False) if found.metadata else None,
    )
    return Fields((*known.pairs, *((cell(name), f"{count:,}") for name, count in found.counts.items())))


def named(ref: DatasetRef, dataset_name: str | None) -> str:
    """A version's reference, with its dataset's name behind it where the reference has an id."""
    return f"{ref} ({one_line(dataset_name, 60)})" if dataset_name else str(ref)


def files(manifest: Manifest) -> Lines:
    """The files of a version: size, the beginning of what identifies the content, path."""
    identity = _digest if manifest.schema == SCHEMA else _identity
    return Lines(
        f"{human_bytes(entry.bytes):>10}  {identity(entry)}  {one_line(entry.path, 4096)}"
        for entry in manifest.entries
    )


def _digest(entry: FileEntry) -> str:
    return entry.digest[:16]


def _identity(entry: FileEntry) -> str:
    """The strongest evidence of a file, in a column: `sha256:3f9c2a7d11e05b64`, `version 3sL4kqtJlcpXroDT`."""
    if entry.blake3 is not None:
        return f"blake3:{entry.blake3[:16]} "
    name, _, value = entry.digest.partition(":")
    version, etag = (entry.evidence.version, entry.evidence.etag) if entry.evidence is not None else (None, None)
    shown = f"{name}:{value[:16]}" if value else f"etag {one_line(etag, 16)}" if etag else "size and date"
    if version is not None and name not in STRONG:
        shown = f"version {one_line(version, 16)}"
    return f"{shown:<24}"
