"""Which datasets and versions there are: the one question that MLflow's search cannot answer.

Asked of the tracking database directly, with three small read-only queries over its tables `datasets`, `inputs` and
`runs`, a page at a time and only for experiments that the visitor may read. A tracking store without a database
gives nothing here; the pages of versions and runs work all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mlflow_dsver.lineage.facts import Use, version_of
from mlflow_dsver.lineage.views import DatasetRow, VersionRow
from mlflow_dsver.refs import DatasetRef
from mlflow_dsver.tracking.lineage_queries import use_of_dataset
from mlflow_dsver.tracking.source import SOURCE_TYPE

PAGE = 25
VERSIONS = 50
_BATCH = 400
"""Values in one IN list: databases have their limits."""

_NAMES = """
SELECT DISTINCT experiment_id, name FROM datasets
WHERE dataset_source_type = :type AND LOWER(name) LIKE :wanted ESCAPE '!'
"""
_IDS = "SELECT experiment_id, name, dataset_uuid FROM datasets WHERE dataset_source_type = :type AND name IN :names"
_USES = """
SELECT i.source_id, COUNT(*), MIN(r.start_time), MAX(r.start_time)
FROM inputs i JOIN runs r ON r.run_uuid = i.destination_id AND r.lifecycle_stage = 'active'
WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.source_id IN (
  SELECT dataset_uuid FROM datasets WHERE dataset_source_type = :type AND name IN :names AND experiment_id IN :ids)
GROUP BY i.source_id
"""
_ROWS = """
SELECT experiment_id, name, dataset_source, dataset_profile FROM datasets
WHERE dataset_source_type = :type AND name IN :names
"""


class Catalogue:
    """The datasets of one tracking store, as far as these experiments go.

    engine: SQLAlchemy's, of the tracking database. readable: ids of the experiments that the visitor may read.
    """

    def __init__(self, engine: Any, readable: Mapping[str, str]) -> None:
        self._engine = engine
        self._readable = readable

    def datasets(self, wanted: str = "", after: str | None = None) -> tuple[list[DatasetRow], str | None]:
        """A page of datasets whose reference contains a text, sorted, from a mark on; and the next page's mark."""
        names = self._names(wanted)
        order = sorted(name for name in names if after is None or name > after)
        shown = order[:PAGE]
        uses = self._uses(version for dataset in shown for version in names[dataset])
        rows = [row for dataset in shown if (row := _dataset_row(dataset, names[dataset], uses))]
        return rows, shown[-1] if len(order) > PAGE else None

    def versions(self, dataset: DatasetRef, skip: int = 0) -> tuple[list[VersionRow], bool]:
        """A page of a dataset's versions, the newest first (by first use); and whether there are more."""
        names = self._names(f"{dataset}@").get(str(dataset), [])
        uses = self._uses(names)
        order = sorted(names, key=lambda name: (uses.get(name, _NEVER)[1] or 0, name), reverse=True)
        shown = order[skip : skip + VERSIONS]
        said = self._rows(shown)
        rows = [_version_row(name, said.get(name, {}), uses.get(name)) for name in shown]
        return [row for row in rows if row is not None], len(order) > skip + VERSIONS

    def version(self, ref: DatasetRef) -> VersionRow | None:
        """One version; None when no run of a readable experiment has it."""
        name = str(ref)
        said = self._rows([name])
        return _version_row(name, said[name], self._uses([name]).get(name)) if name in said else None

    def experiments_of(self, names: Iterable[str]) -> dict[str, str]:
        """Id to name of the readable experiments that have one of these versions."""
        found = {}
        for experiment_id, *_ in self._select(_ROWS, list(names)):
            found[str(experiment_id)] = self._readable[str(experiment_id)]
        return found

    def previous(self, ref: DatasetRef) -> DatasetRef | None:
        """The version of the same dataset that was first used before this one, and latest among those."""
        names = self._names(f"{ref.at(None)}@").get(str(ref.at(None)), [])
        uses = self._uses(names)
        mine = uses.get(str(ref), _NEVER)[1]
        if mine is None:
            return None
        earlier = [(use[1], name) for name, use in uses.items() if use[1] is not None and use[1] < mine]
        return version_of(max(earlier)[1]) if earlier else None

    def contents(self, skip: int) -> Iterator[tuple[str, tuple[str, str] | None, int]]:
        """Name of all versions from a place on, the one used last first, with a readable experiment that has it and
        the content digest that is recorded there; and how many are left. None where no digest was recorded.
        """
        names = [version for versions in self._names("").values() for version in versions]
        uses = self._uses(names)
        order = sorted(names, key=lambda name: (uses.get(name, _NEVER)[2] or 0, name), reverse=True)
        for start in range(skip, len(order), _BATCH):
            some = order[start : start + _BATCH]
            known: dict[str, tuple[str, str]] = {}
            for experiment_id, name, source, profile in self._select(_ROWS, some):
                digest = use_of_dataset(source, profile)["content_digest"]
                if digest is not None:
                    known[name] = (str(experiment_id), digest)
            for place, name in enumerate(some, start):
                yield name, known.get(name), len(order) - place - 1

    def _names(self, wanted: str) -> dict[str, list[str]]:
        """Dataset's reference to its versions' references, of readable experiments, whose text contains `wanted`."""
        from sqlalchemy import text

        pattern = "".join(f"!{each}" if each in "!%_" else each for each in wanted.lower())
        found: dict[str, dict[str, None]] = {}
        with self._engine.connect() as connection:
            asked = {"type": SOURCE_TYPE, "wanted": f"%{pattern}%"}
            for experiment_id, name in connection.execute(text(_NAMES), asked):
                dataset, separator, _ = name.rpartition("@")
                if separator and str(experiment_id) in self._readable:
                    found.setdefault(dataset, {})[name] = None
        return {dataset: list(names) for dataset, names in found.items()}

    def _uses(self, names: Iterable[str]) -> dict[str, Uses]:
        """Name to its uses in readable experiments."""
        wanted = list(names)
        name_of = {uuid: (str(experiment_id), name) for experiment_id, name, uuid in self._select(_IDS, wanted)}
        ids = sorted({int(experiment_id) for experiment_id, _ in name_of.values()})
        found: dict[str, Uses] = {}
        for start in range(0, len(ids), _BATCH):
            for uuid, count, first, last in self._rows_of(_USES, wanted, ids=ids[start : start + _BATCH]):
                if uuid in name_of:
                    known = found.get(name_of[uuid][1], _NEVER)
                    found[name_of[uuid][1]] = _joined(known, (count, first, last))
        return found

    def _rows(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {name: use_of_dataset(source, profile) for _, name, source, profile in self._select(_ROWS, names)}

    def _select(self, query: str, names: Sequence[str]) -> Iterator[Any]:
        """The rows whose first column is a readable experiment."""
        return (row for row in self._rows_of(query, names) if str(row[0]) in self._readable)

    def _rows_of(self, query: str, names: Sequence[str], **lists: Sequence[int]) -> Iterator[Any]:
        from sqlalchemy import bindparam, text

        statement = text(query).bindparams(*(bindparam(each, expanding=True) for each in ("names", *lists)))
        with self._engine.connect() as connection:
            for start in range(0, len(names), _BATCH):
                asked = {"type": SOURCE_TYPE, "names": list(names[start : start + _BATCH]), **lists}
                yield from connection.execute(statement, asked)


Uses = tuple[int, int | None, int | None]
"""Number of uses, first and last start in milliseconds."""
_NEVER: Uses = (0, None, None)


def _joined(one: Uses, other: Uses) -> Uses:
    firsts = [each for each in (one[1], other[1]) if each is not None]
    lasts = [each for each in (one[2], other[2]) if each is not None]
    return one[0] + other[0], min(firsts, default=None), max(lasts, default=None)


def engine() -> Any | None:
    """SQLAlchemy's engine of this server's tracking store; None when it keeps its runs elsewhere."""
    from mlflow.server.handlers import _get_tracking_store

    return getattr(_get_tracking_store(), "engine", None)


def store_address() -> str:
    """Which tracking store this server has, without a password; empty when it keeps its runs elsewhere."""
    found = engine()
    return "" if found is None else found.url.render_as_string(hide_password=True)


def _dataset_row(dataset: str, names: list[str], uses: Mapping[str, Uses]) -> DatasetRow | None:
    newest = max(names, key=lambda name: (uses.get(name, _NEVER)[2] or 0, name))
    version = version_of(newest)
    if version is None:
        return None
    return DatasetRow(
        version.at(None),
        versions=len(names),
        runs=sum(uses.get(name, _NEVER)[0] for name in names),
        last_used=_time(uses.get(newest, _NEVER)[2]),
        newest=version,
    )


def _version_row(name: str, said: Mapping[str, Any], use: Uses | None) -> VersionRow | None:
    ref = version_of(name)
    if ref is None:
        return None
    count, first, last = use or _NEVER
    return VersionRow(Use("", ref, **said), runs=count, first_used=_time(first), last_used=_time(last))


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
