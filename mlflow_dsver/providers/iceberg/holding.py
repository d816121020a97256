"""Keeps snapshots: a tag without an end, which no expiry of snapshots removes, and a table property for each reason.

The tag is set before the first reason is kept, and removed after the last one is gone, so a kill leaves a snapshot
kept rather than lost. Writers do not overwrite each other, since each reason has a property of its own; afterwards
the table is read again, and a tag that another one's release took away meanwhile is set again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

from mlflow_dsver.errors import InvalidArgument, ProviderUnavailable
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import now
from mlflow_dsver.providers.iceberg.catalogs import call
from mlflow_dsver.providers.iceberg.info import NAME
from mlflow_dsver.providers.iceberg.snapshot import Snapshot, exactly
from mlflow_dsver.providers.operation_schema import creator

TAG = "dsver-"
"""What the names of our tags begin with; the snapshot's id follows."""
PROPERTY = "dsver.hold."
"""What the names of our table properties begin with; the snapshot's id, and a hash of the reason, follow."""
TRIES = 5
FOREVER_MS = (1 << 63) - 1
"""`max-ref-age-ms` of a tag that has no end, whatever the table's default is."""


def holds_of(found: Snapshot) -> tuple[Hold, ...]:
    """The reasons for which a snapshot is kept, sorted; what cannot be read counts as one reason."""
    reasons = []
    for name, text in found.table.properties.items():
        if name.startswith(_properties(found)):
            try:
                reasons.append(Hold.from_json(json.loads(text)))
            except (ValueError, TypeError, AttributeError, InvalidArgument):
                reasons.append(Hold("note:a hold that this version of mlflow-dsver cannot read"))
    return tuple(sorted(reasons, key=lambda each: (each.reason, each.server or "")))


def hold(ref: DatasetRef, reasons: Sequence[Hold]) -> None:
    """Keep a snapshot for these reasons; those that it is kept for already change nothing."""

    def change(found: Snapshot) -> None:
        have = holds_of(found)
        new = [replace(each, since=now(), by=creator()) for each in dict.fromkeys(reasons) if each not in have]
        if new:
            _set_tag(found)
            texts = {_property(found, each): json.dumps(each.to_json()) for each in new}
            with found.table.transaction() as transaction:
                transaction.set_properties(texts)

    _changed(ref, "hold", change)


def release(ref: DatasetRef, reasons: Sequence[Hold]) -> None:
    """Take back these reasons; with the last one the tag goes."""

    def change(found: Snapshot) -> None:
        names = [_property(found, each) for each in holds_of(found) if each in reasons]
        if names:
            with found.table.transaction() as transaction:
                transaction.remove_properties(*names)

    _changed(ref, "release", change)


def _changed(ref: DatasetRef, operation: str, change: Callable[[Snapshot], None]) -> None:
    """Make a change, then set or remove the tag as the reasons say that are there by then."""
    from pyiceberg.exceptions import CommitFailedException

    def done(step: Callable[[Snapshot], None]) -> bool:
        found = exactly(ref)

        def work() -> bool:
            try:
                step(found)
            except CommitFailedException:  # another writer was quicker
                return False
            return True

        return call(ref, operation, work)

    for _ in range(TRIES):
        if done(change) and done(_reconcile) and _is_settled(exactly(ref)):
            return
    raise ProviderUnavailable(
        f"other writers changed the table {TRIES} times meanwhile", provider=NAME, operation=operation, reference=ref
    )


def _reconcile(found: Snapshot) -> None:
    if holds_of(found):
        _set_tag(found)
    elif _tag(found) in found.table.refs():
        with found.table.manage_snapshots() as manage:
            manage.remove_tag(_tag(found))


def _is_settled(found: Snapshot) -> bool:
    return bool(holds_of(found)) == (_tag(found) in found.table.refs())


def _set_tag(found: Snapshot) -> None:
    if _tag(found) not in found.table.refs():
        with found.table.manage_snapshots() as manage:
            manage.create_tag(found.snapshot.snapshot_id, _tag(found), max_ref_age_ms=FOREVER_MS)


def _tag(found: Snapshot) -> str:
    return f"{TAG}{found.snapshot.snapshot_id}"


def _properties(found: Snapshot) -> str:
    return f"{PROPERTY}{found.snapshot.snapshot_id}."


def _property(found: Snapshot, reason: Hold) -> str:
    text = f"{reason.reason}\n{reason.server or ''}"
    return _properties(found) + hashlib.sha256(text.encode()).hexdigest()[:16]
