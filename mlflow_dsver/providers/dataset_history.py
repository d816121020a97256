"""A dataset's versions and tags as they result from its operations, for providers that keep this themselves. Pure.

The local store keeps the operations in a log, and the providers of object storage keep one file for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_dsver.errors import InvalidReference, VersionHeld
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.json_values import date_text, date_value, to_json
from mlflow_dsver.model.manifests import DIGEST_PREFIX
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, now
from mlflow_dsver.providers.operation_schema import creator
from mlflow_dsver.text import human_count

HoldChange = Callable[["State", str, Sequence[Hold]], "Operation | None"]
"""`hold_operation` or `release_operation`."""
ID_DIGITS = 16
"""Hex digits of the content digest in a version's id; more only where two contents of a dataset share them."""

Operation = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """A version as the log describes it.

    kept: the store holds its bytes; otherwise the store holds only the manifest, and the bytes are in the folder
    `source`, or at another provider, whose reference `source` then is, with the `grade` there. manifest: sum of the
    manifest's file. rules: the patterns that the folder `source` was walked with; None
    where the bytes are kept, and for records older than this field.
    """

    id: str
    digest: str
    files: int
    bytes: int
    kept: bool
    source: str | None
    created: str
    modified: str
    creator: str
    manifest: str
    message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] | None = None
    grade: str | None = None


@dataclass(slots=True)
class State:
    """The state that results from replaying a log.

    versions: existing ones by id, the most recently created last. tags: tag to version id, and `tagged` the reverse;
    changed only by `tag` and `untag`. holds: version id to the reasons to keep it; foreign: to the paths that
    somebody else had the store hold before. ids: every id ever assigned, with its content digest. size: bytes of
    complete lines; torn: bytes of a truncated line after them. sum: of the last line. lines: their number.
    """

    dataset: str
    versions: dict[str, Record] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    tagged: dict[str, set[str]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    holds: dict[str, dict[Hold, Hold]] = field(default_factory=dict)
    foreign: dict[str, set[str]] = field(default_factory=dict)
    size: int = 0
    torn: int = 0
    sum: str = ""
    lines: int = 0

    def tags_of(self, version: str) -> tuple[str, ...]:
        """The tags of a version, sorted."""
        return tuple(sorted(self.tagged.get(version, ())))

    def tag(self, version: str, tag: str) -> None:
        """Assign a tag to a version, and remove it from the version that has it now."""
        self.untag(self.tags.get(tag, ""), tag)
        self.tags[tag] = version
        self.tagged.setdefault(version, set()).add(tag)

    def untag(self, version: str, tag: str) -> None:
        """Remove a tag from a version, if it has it."""
        if tag in self.tagged.get(version, ()):
            del self.tags[tag]
            self.tagged[version].remove(tag)


def apply(state: State, operation: Operation) -> None:
    """Apply an operation to the state."""
    version = operation["version"]
    if operation["op"] == "delete":
        del state.versions[version]
        state.holds.pop(version, None)
        for tag in state.tagged.pop(version, ()):
            del state.tags[tag]
        return
    if "hold" in operation or "release" in operation:
        _hold(state, operation)
        return
    known = state.versions.pop(version, None) if operation["op"] == "create" else state.versions[version]
    record = _changed(known, operation) if known else _new(operation)
    state.versions[version] = record
    state.ids[version] = record.digest
    for tag in operation.get("remove_tags") or ():
        state.untag(version, tag)
    for tag in operation.get("add_tags") or ():
        state.tag(version, tag)


def _new(operation: Operation) -> Record:
    return Record(
        id=operation["version"],
        digest=operation["digest"],
        files=operation["files"],
        bytes=operation["bytes"],
        kept=operation["kept"],
        source=operation.get("source"),
        created=operation["at"],
        modified=operation["at"],
        creator=operation["by"],
        manifest=operation["manifest"],
        message=operation.get("message") or None,
        metadata=operation.get("metadata") or {},
        rules=operation.get("rules"),
        grade=operation.get("grade"),
    )


def _changed(record: Record, operation: Operation) -> Record:
    changes: dict[str, Any] = {"modified": operation["at"], "kept": record.kept or operation.get("kept", False)}
    for key in ("source", "manifest", "rules", "grade"):
        if operation.get(key):
            changes[key] = operation[key]
    if operation.get("message") is not None:
        changes["message"] = operation["message"] or None
    if operation.get("metadata") is not None:
        changes["metadata"] = operation["metadata"]
    return replace(record, **changes)


def _hold(state: State, operation: Operation) -> None:
    """Such an operation is an update without changes to those versions of this package that know no holds."""
    if operation["version"] not in state.versions:
        raise KeyError(operation["version"])
    held = state.holds.setdefault(operation["version"], {})
    since, by = date_value(operation["at"]), operation["by"]
    for each in map(Hold.from_json, operation.get("hold") or ()):
        held.setdefault(each, replace(each, since=since, by=by))
    for each in map(Hold.from_json, operation.get("release") or ()):
        held.pop(each, None)
    state.foreign.setdefault(operation["version"], set()).update(operation.get("foreign") or ())
    if not held:
        del state.holds[operation["version"]]
        state.foreign.pop(operation["version"], None)


def hold_operation(state: State, version: str, reasons: Sequence[Hold], **parts: Any) -> Operation | None:
    """The operation that adds reasons to keep a version; None when there are all of them."""
    new = [each for each in dict.fromkeys(reasons) if each not in state.holds.get(version, {})]
    return operation("update", version, hold=[_bare(each) for each in new], **parts) if new else None


def release_operation(state: State, version: str, reasons: Sequence[Hold]) -> Operation | None:
    """The operation that takes back reasons; None when there is none of them."""
    old = [each for each in dict.fromkeys(reasons) if each in state.holds.get(version, {})]
    return operation("update", version, release=[_bare(each) for each in old]) if old else None


def holds_of(state: State, version: str) -> tuple[Hold, ...]:
    """The reasons to keep a version, sorted."""
    return tuple(sorted(state.holds.get(version, {}).values(), key=lambda each: (each.reason, each.server or "")))


def check_not_held(state: State, reference: DatasetRef) -> None:
    """Raise VersionHeld, with the first reasons, for a version that is held."""
    reasons = holds_of(state, reference.selector or "")
    if reasons:
        some = ", ".join(str(each) for each in reasons[:5]) + (", …" if len(reasons) > 5 else "")
        raise VersionHeld(
            f"it is kept for {human_count(len(reasons), 'reason')}: {some}",
            reference=reference,
            done="Nothing was deleted",
            tip=f"mlflow-dsver release {reference}",
        )


def _bare(hold: Hold) -> dict[str, Any]:
    return Hold(hold.reason, hold.server).to_json()


def version_of(provider: str, state: State, record: Record, store: str | None = None) -> DatasetVersion:
    """A version as the log describes it. store: the store's id; None when it has none."""
    raw = to_json(record)
    if record.grade is None:
        del raw["grade"]
    return DatasetVersion(
        ref=DatasetRef(provider, state.dataset, record.id),
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
    digits = digest.removeprefix(DIGEST_PREFIX)
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
