"""The operations that change a dataset of the store, and its versions as the log describes them. Pure."""

from __future__ import annotations

from typing import Any

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.json_values import date_text, date_value, to_json
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, now
from mlflow_dsver.providers.local.log import Operation, Record, State
from mlflow_dsver.providers.local.log_schema import creator
from mlflow_dsver.providers.local.store import hex_of

PROVIDER = "local"
ID_DIGITS = 16
"""Hex digits of the content digest in a version's id; more only where two contents of a dataset share them."""


def version_of(state: State, record: Record, store: str | None) -> DatasetVersion:
    """A version as the log describes it. store: the store's id; None when it has none."""
    raw = to_json(record)
    if record.grade is None:
        del raw["grade"]
    return DatasetVersion(
        ref=DatasetRef(PROVIDER, state.dataset, record.id),
        tags=state.tags_of(record.id),
        message=record.message,
        metadata=record.metadata,
        usage_bytes=record.bytes,
        content_digest=record.digest,
        created=date_value(record.created),
        modified=date_value(record.modified),
        creator=record.creator,
        immutable=True,
        counts={"files": record.files},
        raw={**raw, "tags": list(state.tags_of(record.id))},
        store=store,
    )


def creation(state: State, facts: Operation, words: Operation) -> Operation | None:
    """The operation that makes a version the most recently created one; None when that would change nothing."""
    version = id_of(state, facts["digest"])
    check_free(state, words["add_tags"], version)
    known = state.versions.get(version)
    if known is not None and version == next(reversed(state.versions)):
        new_facts = (
            (facts["kept"] and not known.kept)
            or any(facts.get(key) not in (None, getattr(known, key)) for key in ("source", "rules", "grade"))
            or facts["manifest"] != known.manifest  # the manifest was lost and is written again
        )
        new_tags = any(state.tags.get(tag) != version for tag in words["add_tags"])
        new_words = any(words[key] is not None for key in ("message", "metadata"))
        if not (new_facts or new_tags or new_words):
            return None
    return operation("create", version, **facts, **words)


def id_of(state: State, digest: str) -> str:
    """The id of a version with that content digest: as many of its digits as no other content of the dataset has."""
    digits = hex_of(digest)
    for length in range(ID_DIGITS, len(digits), 8):
        if state.ids.get(digits[:length], digest) == digest:
            return digits[:length]
    return digits


def operation(kind: str, version: str, **parts: Any) -> Operation:
    """An operation of now by this user, without the parts that say nothing."""
    given = {key: value for key, value in parts.items() if value not in (None, [])}
    return {"op": kind, "version": version, "at": date_text(now()), "by": creator(), **given}


def check_free(state: State, tags: list[str], version: str = "") -> None:
    """Raise InvalidReference for a tag that is the id of a version."""
    for tag in tags:
        if tag in state.versions or tag == version:
            raise InvalidReference("this tag is the id of a version", got=tag, tip="another tag")
