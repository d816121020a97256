"""The uses of a dataset in a tracking database, filtered and counted: each run once, whatever it used. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow_dsver.lineage.render.views import DatasetRow, VersionRow
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import Filter, Use
from mlflow_dsver.record.reader import UNKNOWN_ROLE, verdict_of
from mlflow_dsver.record.schema import VERDICT_TAG, key

Tags = Callable[[Sequence[str], Sequence[str]], Mapping[tuple[str, str], str]]
"""From run ids and keys to the tags that there are, by (run id, key)."""


@dataclass(frozen=True, slots=True)
class UseRow:
    """A run used a version in a role. started: milliseconds since 1970. active: the run is not deleted."""

    version: DatasetRef
    run_id: str
    experiment_id: str
    role: str
    started: int | None
    active: bool = True
    grade: str = "D"


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a dataset or version and its uses.

    uses: of active runs, as far as a filter leaves them. run_ids: their runs, newest first, each once.
    rows: each version with what was recorded of it, the newest (by first use) first. deleted: runs that are deleted.
    exists: whether there is anything of it at all, filter or not.
    """

    uses: tuple[UseRow, ...]
    run_ids: tuple[str, ...]
    rows: tuple[VersionRow, ...]
    deleted: tuple[str, ...]
    exists: bool

    def dataset_row(self) -> DatasetRow | None:
        """The dataset in the list; None when there is nothing of it."""
        if not self.rows:
            return None
        newest = max(self.rows, key=lambda row: (_seconds(row.last_used), str(row.use.version)))
        return DatasetRow(
            newest.use.dataset,
            len(self.rows),
            len(self.run_ids),
            newest.last_used,
            newest.use.version,
            next((row.use.dataset_name for row in self.rows if row.use.dataset_name), None),
        )

    def previous(self, ref: DatasetRef) -> DatasetRef | None:
        """The version that was first used before this one, and latest among those."""
        here = next((row.first_used for row in self.rows if row.use.version == ref), None)
        if here is None:
            return None
        earlier = [row for row in self.rows if row.first_used is not None and row.first_used < here]
        return max(earlier, key=lambda row: (row.first_used, str(row.use.version))).use.version if earlier else None


def history_of(
    uses: Iterable[UseRow], known: Mapping[DatasetRef, Mapping[str, Any]], wanted: Filter, tags: Tags
) -> History:
    """Sort out the uses. known: version to what was recorded of it; with a filter, unused versions are left out."""
    told = _without_repeats(uses)
    active = _graded([use for use in told if use.active and _matches(use, wanted)], wanted, tags)
    newest = {use.run_id: use.started or 0 for use in active}
    versions = dict.fromkeys(use.version for use in active)
    if not wanted:
        versions.update(dict.fromkeys(known))
    rows = [
        _row(version, known.get(version, {}), [u for u in active if u.version == version]) for version in versions
    ]
    return History(
        tuple(active),
        tuple(sorted(newest, key=lambda run_id: (newest[run_id], run_id), reverse=True)),
        tuple(sorted(rows, key=lambda row: (_seconds(row.first_used), str(row.use.version)), reverse=True)),
        tuple(dict.fromkeys(use.run_id for use in told if not use.active)),
        exists=bool(told or known),
    )


def _without_repeats(uses: Iterable[UseRow]) -> list[UseRow]:
    """Each use once; one without a role not at all where the run has the version in a role."""
    rows = dict.fromkeys(uses)
    in_a_role = {(use.run_id, use.version) for use in rows if use.role != UNKNOWN_ROLE}
    return [use for use in rows if use.role != UNKNOWN_ROLE or (use.run_id, use.version) not in in_a_role]


def _matches(use: UseRow, wanted: Filter) -> bool:
    if wanted.experiment and use.experiment_id != wanted.experiment:
        return False
    if wanted.role and use.role != wanted.role:
        return False
    started = _time(use.started)
    if wanted.since and (started is None or started < wanted.since):
        return False
    return not (wanted.until and (started is None or started >= wanted.until))


def _graded(uses: list[UseRow], wanted: Filter, tags: Tags) -> list[UseRow]:
    """The uses with their grades, as far as grade and last check are wanted."""
    from dataclasses import replace

    keys = sorted({key(use.role, "grade") for use in uses})
    told = tags(list(dict.fromkeys(use.run_id for use in uses)), [*keys, *([VERDICT_TAG] if wanted.verdict else [])])
    found = []
    for use in uses:
        grade = told.get((use.run_id, key(use.role, "grade"))) or "D"
        verdict = verdict_of(told.get((use.run_id, VERDICT_TAG), ""))[0] or "none"
        if wanted.grade in (None, "", grade[:1]) and wanted.verdict in (None, "", verdict):
            found.append(replace(use, grade=grade))
    return found


def _row(version: DatasetRef, known: Mapping[str, Any], uses: Sequence[UseRow]) -> VersionRow:
    starts = sorted(use.started for use in uses if use.started)
    best = min((use.grade for use in uses), default=known.get("grade") or "")
    return VersionRow(
        Use("", version, **{**known, "grade": best}),
        runs=len({use.run_id for use in uses}),
        first_used=_time(starts[0]) if starts else None,
        last_used=_time(starts[-1]) if starts else None,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _seconds(when: datetime | None) -> float:
    return when.timestamp() if when else 0.0
