"""The datasets and versions of a tracking store and the runs that used them, which MLflow's search cannot list.

They are read from the tracking database directly, read-only, and only for experiments that the user may read. Our
records name the dataset after the version; an input logged with MLflow alone may have any name, so its source is
read; a run with an incomplete record has tags. The runs themselves are then read through MLflow's search by the ids
found here. For a tracking store without a database the index is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow_dsver.lineage.views import DatasetRow, VersionRow
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.dataset_source import SOURCE_TYPE
from mlflow_dsver.record.facts import EVERYTHING, Filter, Use, version_of
from mlflow_dsver.record.reader import UNKNOWN_ROLE, reference_in, role_of, use_of_dataset, verdict_of
from mlflow_dsver.record.schema import VERDICT_TAG, key
from mlflow_dsver.tracking.mlflow_private import server as private

PAGE = 25
VERSIONS = 50
_BATCH = 900
"""Maximum values in one IN list; databases limit it."""


Tags = Callable[[Sequence[str], Sequence[str]], Mapping[tuple[str, str], str]]
"""From run ids and keys to the existing tags, by (run id, key)."""


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
    """A dataset or version with its uses.

    uses: of active runs, as far as a filter leaves them. run_ids: their runs, newest first, each once.
    rows: each version with what was recorded of it, the newest (by first use) first. deleted: runs that are deleted.
    exists: whether there is any use of it, filtered or not.
    """

    uses: tuple[UseRow, ...]
    run_ids: tuple[str, ...]
    rows: tuple[VersionRow, ...]
    deleted: tuple[str, ...]
    exists: bool

    def dataset_row(self) -> DatasetRow | None:
        """The dataset as a row of the list; None if it has no use."""
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
    uses: Iterable[UseRow], known: Mapping[DatasetRef, Mapping[str, Any]], filters: Filter, tags: Tags
) -> History:
    """Group the uses. known: version to its recorded data; with a filter, unused versions are left out."""
    distinct = _without_repeats(uses)
    active = _graded([use for use in distinct if use.active and _matches(use, filters)], filters, tags)
    newest = {use.run_id: use.started or 0 for use in active}
    versions = dict.fromkeys(use.version for use in active)
    if not filters:
        versions.update(dict.fromkeys(known))
    rows = [
        _row(version, known.get(version, {}), [u for u in active if u.version == version]) for version in versions
    ]
    return History(
        tuple(active),
        tuple(sorted(newest, key=lambda run_id: (newest[run_id], run_id), reverse=True)),
        tuple(sorted(rows, key=lambda row: (_seconds(row.first_used), str(row.use.version)), reverse=True)),
        tuple(dict.fromkeys(use.run_id for use in distinct if not use.active)),
        exists=bool(distinct or known),
    )


def _without_repeats(uses: Iterable[UseRow]) -> list[UseRow]:
    """The uses without duplicates; one without a role is dropped if the run has the version in a role."""
    rows = dict.fromkeys(uses)
    in_a_role = {(use.run_id, use.version) for use in rows if use.role != UNKNOWN_ROLE}
    return [use for use in rows if use.role != UNKNOWN_ROLE or (use.run_id, use.version) not in in_a_role]


def _matches(use: UseRow, filters: Filter) -> bool:
    if filters.experiment and use.experiment_id != filters.experiment:
        return False
    if filters.role and use.role != filters.role:
        return False
    started = _time(use.started)
    if filters.since and (started is None or started < filters.since):
        return False
    return not (filters.until and (started is None or started >= filters.until))


def _graded(uses: list[UseRow], filters: Filter, tags: Tags) -> list[UseRow]:
    """The uses with their grades that match the filter's grade and verdict."""
    from dataclasses import replace

    keys = sorted({key(use.role, "grade") for use in uses})
    tag_values = tags(
        list(dict.fromkeys(use.run_id for use in uses)), [*keys, *([VERDICT_TAG] if filters.verdict else [])]
    )
    found = []
    for use in uses:
        grade = tag_values.get((use.run_id, key(use.role, "grade"))) or "D"
        verdict = verdict_of(tag_values.get((use.run_id, VERDICT_TAG), ""))[0] or "none"
        if filters.grade in (None, "", grade[:1]) and filters.verdict in (None, "", verdict):
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


class DatasetIndex:
    """The datasets in these experiments of one tracking store.

    engine: SQLAlchemy's, of the tracking database. readable: ids of the experiments that the user may read.
    """

    def __init__(self, engine: Any, readable: Mapping[str, str]) -> None:
        self._engine = engine
        self._readable = readable

    def datasets(self, text: str = "", after: str | None = None) -> tuple[list[DatasetRow], str | None]:
        """A page of datasets whose reference or name contains a text, sorted, after a cursor; and the next cursor."""
        part = _escaped(text.lower())
        experiments = {"wanted": f"%{part}%", "named": f'%"dataset_name": "%{part}%' if text else "%%"}
        names = {name for _, name in self._visible(private.DATASET_NAMES, experiments)}
        special = self._special()
        names |= {name for name in special if text.lower() in name.lower()}
        order = sorted(name for name in names if after is None or name > after)
        shown = order[:PAGE]
        rows = [row for row in self._counted(shown, special) if row is not None]
        return rows, shown[-1] if len(order) > PAGE else None

    def history(self, ref: DatasetRef, filters: Filter = EVERYTHING) -> History:
        """The runs that used a version, or any version of a dataset, with the uses that a filter leaves."""
        rows = list(self._rows_of(ref))
        version_by_id = {uuid: version for _, uuid, version, *_ in rows}
        uses = [
            UseRow(version_by_id[uuid], run_id, str(experiment_id), role_of(context), started, stage == "active")
            for experiment_id, uuid, run_id, started, stage, context in self._visible(
                private.USES, {}, values=list(version_by_id)
            )
        ]
        for experiment_id, text, run_id, started, stage, tag in self._visible(
            private.INCOMPLETE, {"within": f"{_escaped(str(ref))}%"}
        ):
            version = version_of(text)
            if version is not None and _is_of(version, ref):
                role = tag.removeprefix("dsver.").removesuffix(".version")
                uses.append(UseRow(version, run_id, str(experiment_id), role, started, stage == "active"))
        known: dict[DatasetRef, dict[str, Any]] = {}
        for experiment_id, _, version, source, profile in rows:
            if str(experiment_id) in self._readable:
                known[version] = use_of_dataset(source, profile)
        return history_of(uses, known, filters, self._tags)

    def experiments_of(self, ref: DatasetRef) -> dict[str, str]:
        """Id to name of the readable experiments that have a version, or any version of a dataset."""
        ids = {str(experiment_id) for experiment_id, *_ in self._rows_of(ref)}
        return {each: self._readable[each] for each in ids if each in self._readable}

    def contents(self, skip: int) -> Iterator[tuple[str, tuple[str, str] | None, int]]:
        """Name of all versions after an offset, the one used last first, with a readable experiment that has it and
        the content digest that is recorded there; and how many are left. None where no digest was recorded.
        """
        last: dict[str, int] = {}
        for _, name, used_in, started in self._visible(private.ALL_VERSIONS, {}):
            last[name] = max(last.get(name, 0), started if started and str(used_in) in self._readable else 0)
        others: dict[str, list[tuple[str, str, str | None]]] = {}
        for experiment_id, _, version, source, profile in self._other_rows("%"):
            others.setdefault(str(version), []).append((str(experiment_id), source, profile))
            last.setdefault(str(version), 0)
        order = sorted(last, key=lambda name: (last[name], name), reverse=True)
        for start in range(skip, len(order), _BATCH):
            some = order[start : start + _BATCH]
            known: dict[str, tuple[str, str]] = {}
            rows = [(str(row[0]), row[2], row[3], row[4]) for row in self._visible(private.ROWS, {}, values=some)]
            rows += [
                (experiment_id, name, source, profile)
                for name in some
                for experiment_id, source, profile in others.get(name, ())
            ]
            for experiment_id, name, source, profile in rows:
                digest = use_of_dataset(source, profile)["content_digest"]
                if digest is not None and experiment_id in self._readable:
                    known.setdefault(name, (experiment_id, digest))
            for place, name in enumerate(some, start):
                yield name, known.get(name), len(order) - place - 1

    def _counted(self, shown: Sequence[str], special: Iterable[str]) -> Iterator[DatasetRow | None]:
        """The rows of datasets; those with incomplete or foreign records are counted from their history."""
        plain = [name for name in shown if name not in set(special)]
        last: dict[str, dict[str, int]] = {}
        for _, version in self._visible(private.VERSIONS_OF, {}, values=plain):
            last.setdefault(version.partition("@")[0], {})[version] = 0
        runs: dict[str, set[str]] = {}
        for _, version, run_id, started in self._visible(private.RUNS_OF, {}, values=plain):
            dataset = version.partition("@")[0]
            runs.setdefault(dataset, set()).add(run_id)
            of = last.setdefault(dataset, {})
            of[version] = max(of.get(version, 0), started or 0)
        newest = {name: max((when, version) for version, when in of.items())[1] for name, of in last.items()}
        dataset_names = {
            row[2]: use_of_dataset(row[3], row[4])["dataset_name"]
            for row in self._visible(private.ROWS, {}, values=list(newest.values()))
        }
        for name in shown:
            ref = version_of(newest.get(name, f"{name}@x"))
            if ref is not None and name in last:
                when = last[name][newest[name]]
                used = datetime.fromtimestamp(when / 1000, UTC) if when else None
                count = len(runs.get(name, ()))
                yield DatasetRow(ref.at(None), len(last[name]), count, used, ref, dataset_names.get(newest[name]))
            elif ref is not None:
                yield self.history(ref.at(None)).dataset_row()

    def _special(self) -> set[str]:
        """Datasets with a use that is not a complete record of ours, which the database cannot count."""
        found = {str(row[2].at(None)) for row in self._other_rows("%") if str(row[0]) in self._readable}
        texts = (version_of(text) for _, text, *_ in self._visible(private.INCOMPLETE, {"within": "%"}))
        return found | {str(ref.at(None)) for ref in texts if ref is not None}

    def _rows_of(self, ref: DatasetRef) -> Iterator[tuple[Any, str, DatasetRef, str, str | None]]:
        """Experiment, id, version, source and profile of the dataset rows of a version or dataset, of any experiment.

        Rows that are not records of ours are first, so that ours override them.
        """
        yield from (row for row in self._other_rows(f"%{_escaped(str(ref))}%") if _is_of(row[2], ref))
        within = f"{_escaped(str(ref))}@%" if ref.selector is None else ""
        for experiment_id, uuid, name, source, profile in self._all(
            private.ROWS_OF, {"exact": str(ref), "within": within}
        ):
            version = version_of(name)
            if version is not None and _is_of(version, ref):
                yield experiment_id, uuid, version, source, profile

    def _other_rows(self, within: str) -> Iterator[tuple[Any, str, DatasetRef, str, str | None]]:
        for experiment_id, uuid, _, source, profile in self._all(private.OTHER_ROWS, {"within": within}):
            version = version_of(reference_in(source) or "")
            if version is not None:
                yield experiment_id, uuid, version, source, profile

    def _tags(self, run_ids: Sequence[str], keys: Sequence[str]) -> dict[tuple[str, str], str]:
        """(run id, key) to the value of these tags."""
        rows = self._all(private.TAGS, {"keys": list(keys)}, lists=("keys",), values=list(run_ids)) if keys else ()
        return {(run_id, key): value for run_id, key, value in rows}

    def _visible(
        self, query: str, experiments: Mapping[str, Any], *, values: list[str] | None = None
    ) -> Iterator[Any]:
        """The rows whose first column is a readable experiment."""
        return (row for row in self._all(query, experiments, values=values) if str(row[0]) in self._readable)

    def _all(
        self,
        query: str,
        experiments: Mapping[str, Any],
        *,
        lists: Sequence[str] = (),
        values: list[str] | None = None,
    ) -> Iterator[Any]:
        """The rows of a query. values: those of its parameter `values`, in batches; None without it."""
        from sqlalchemy import bindparam, text

        sql = private.sql(query, self._engine.dialect.name)
        statement = text(sql)
        expanding = [*lists, *(["values"] if values is not None else [])]
        statement = statement.bindparams(*(bindparam(each, expanding=True) for each in expanding))
        given = {**experiments, **({"type": SOURCE_TYPE} if ":type" in sql else {})}
        with self._engine.connect() as connection:
            if values is None:
                yield from connection.execute(statement, given)
                return
            for start in range(0, len(values), _BATCH):
                yield from connection.execute(statement, {**given, "values": values[start : start + _BATCH]})


def store_address() -> str:
    """Which tracking store this server has, without a password; empty when it keeps its runs elsewhere."""
    found = private.tracking_engine()
    return "" if found is None else found.url.render_as_string(hide_password=True)


def _is_of(version: DatasetRef, ref: DatasetRef) -> bool:
    return version == ref or (ref.selector is None and version.at(None) == ref)


def _escaped(text: str) -> str:
    """The text escaped for a LIKE pattern with `!` as escape character."""
    return "".join(f"!{each}" if each in "!%_" else each for each in text)
