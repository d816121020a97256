"""Which datasets and versions there are, and which runs used them: what MLflow's search cannot answer in one go.

Asked of the tracking database directly, read-only, and only for experiments that the visitor may read. A record of
ours names its dataset after the version; an input that was logged in MLflow's own way has any name, so its source is
read; and a run whose record is incomplete has tags. What a visitor sees of a run itself comes from MLflow's own
search, by the ids that are found here. A tracking store without a database gives nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlflow_dsver.lineage.render.views import DatasetRow
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.dataset_source import SOURCE_TYPE
from mlflow_dsver.record.facts import EVERYTHING, Filter, version_of
from mlflow_dsver.record.reader import reference_in, role_of, use_of_dataset
from mlflow_dsver.server.uses import History, UseRow, history_of
from mlflow_dsver.tracking.mlflow_private import server as private

PAGE = 25
VERSIONS = 50
_BATCH = 900
"""Values in one IN list: databases have their limits."""


class DatasetIndex:
    """The datasets of one tracking store, as far as these experiments go.

    engine: SQLAlchemy's, of the tracking database. readable: ids of the experiments that the visitor may read.
    """

    def __init__(self, engine: Any, readable: Mapping[str, str]) -> None:
        self._engine = engine
        self._readable = readable

    def datasets(self, wanted: str = "", after: str | None = None) -> tuple[list[DatasetRow], str | None]:
        """A page of datasets whose reference or name contains a text, sorted, from a mark on; and the next mark."""
        part = _escaped(wanted.lower())
        asked = {"wanted": f"%{part}%", "named": f'%"dataset_name": "%{part}%' if wanted else "%%"}
        names = {name for _, name in self._visible(private.DATASET_NAMES, asked)}
        special = self._special()
        names |= {name for name in special if wanted.lower() in name.lower()}
        order = sorted(name for name in names if after is None or name > after)
        shown = order[:PAGE]
        rows = [row for row in self._counted(shown, special) if row is not None]
        return rows, shown[-1] if len(order) > PAGE else None

    def history(self, ref: DatasetRef, wanted: Filter = EVERYTHING) -> History:
        """The runs that used a version, or any version of a dataset, with the uses that a filter leaves."""
        rows = list(self._rows_of(ref))
        version_by_id = {uuid: version for _, uuid, version, *_ in rows}
        uses = [
            UseRow(version_by_id[uuid], run_id, str(experiment_id), role_of(context), started, stage == "active")
            for experiment_id, uuid, run_id, started, stage, context in self._visible(
                private.USES, {}, values=list(version_by_id)
            )
        ]
        for experiment_id, text, run_id, started, stage, key in self._visible(
            private.INCOMPLETE, {"within": f"{_escaped(str(ref))}%"}
        ):
            version = version_of(text)
            if version is not None and _is_of(version, ref):
                role = key.removeprefix("dsver.").removesuffix(".version")
                uses.append(UseRow(version, run_id, str(experiment_id), role, started, stage == "active"))
        known: dict[DatasetRef, dict[str, Any]] = {}
        for experiment_id, _, version, source, profile in rows:
            if str(experiment_id) in self._readable:
                known[version] = use_of_dataset(source, profile)
        return history_of(uses, known, wanted, self._tags)

    def experiments_of(self, ref: DatasetRef) -> dict[str, str]:
        """Id to name of the readable experiments that have a version, or any version of a dataset."""
        ids = {str(experiment_id) for experiment_id, *_ in self._rows_of(ref)}
        return {each: self._readable[each] for each in ids if each in self._readable}

    def contents(self, skip: int) -> Iterator[tuple[str, tuple[str, str] | None, int]]:
        """Name of all versions from a place on, the one used last first, with a readable experiment that has it and
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
        """The rows of datasets; those with a use that is no complete record of ours by way of their history."""
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
        told = {
            row[2]: use_of_dataset(row[3], row[4])["dataset_name"]
            for row in self._visible(private.ROWS, {}, values=list(newest.values()))
        }
        for name in shown:
            ref = version_of(newest.get(name, f"{name}@x"))
            if ref is not None and name in last:
                when = last[name][newest[name]]
                used = datetime.fromtimestamp(when / 1000, UTC) if when else None
                count = len(runs.get(name, ()))
                yield DatasetRow(ref.at(None), len(last[name]), count, used, ref, told.get(newest[name]))
            elif ref is not None:
                yield self.history(ref.at(None)).dataset_row()

    def _special(self) -> set[str]:
        """Datasets with a use that is no complete record of ours, which the database cannot count."""
        found = {str(row[2].at(None)) for row in self._other_rows("%") if str(row[0]) in self._readable}
        texts = (version_of(text) for _, text, *_ in self._visible(private.INCOMPLETE, {"within": "%"}))
        return found | {str(ref.at(None)) for ref in texts if ref is not None}

    def _rows_of(self, ref: DatasetRef) -> Iterator[tuple[Any, str, DatasetRef, str, str | None]]:
        """Experiment, id, version, source and profile of the dataset rows of a version or dataset, of any experiment.

        Rows that are not records of ours come first, so that what ours say counts.
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

    def _visible(self, query: str, asked: Mapping[str, Any], *, values: list[str] | None = None) -> Iterator[Any]:
        """The rows whose first column is a readable experiment."""
        return (row for row in self._all(query, asked, values=values) if str(row[0]) in self._readable)

    def _all(
        self,
        query: str,
        asked: Mapping[str, Any],
        *,
        lists: Sequence[str] = (),
        values: list[str] | None = None,
    ) -> Iterator[Any]:
        """The rows of a query. values: for its list of that name, in batches; None when it has none."""
        from sqlalchemy import bindparam, text

        sql = private.sql(query, self._engine.dialect.name)
        statement = text(sql)
        expanding = [*lists, *(["values"] if values is not None else [])]
        statement = statement.bindparams(*(bindparam(each, expanding=True) for each in expanding))
        given = {**asked, **({"type": SOURCE_TYPE} if ":type" in sql else {})}
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
    """The text for a pattern that has `!` as its escape."""
    return "".join(f"!{each}" if each in "!%_" else each for each in text)
