"""The registered models that were made from a dataset or a version, as far as the user may see them.

The registry's database tells which runs made models, and which models have a version in their tags; the models
themselves are requested from MLflow with the user's login, so hidden ones are not disclosed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_dsver.lineage.views import ModelRow
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record.facts import Model, Run
from mlflow_dsver.server.rest_client import RestClient
from mlflow_dsver.tracking.lineage_queries import every, registered_model, run_in
from mlflow_dsver.tracking.mlflow_private import server as private

MOST_RUNS = 1000
"""Runs that are asked for their models at most, where the registry is no database."""
MOST_NAMES = 100
"""Registered models whose aliases are asked for at most."""
_BATCH = 100
_IN_SQL = 900


class Registry:
    """The models of a dataset or version. engine: SQLAlchemy's, of the model registry; None where it has none."""

    def __init__(self, visitor: RestClient, engine: Any) -> None:
        self._visitor = visitor
        self._engine = engine

    def made_from(self, ref: DatasetRef, run_ids: Sequence[str], gone: Sequence[str] | None) -> list[tuple[str, Any]]:
        """Run id and model version of each registered model that these runs made.

        gone: deleted runs, whose models count as well, and those that have the version in their tags; None for
        neither. The run id is empty where MLflow does not know the run.
        """
        found = {(each.name, str(each.version)): each for each in self._of_runs([*run_ids, *(gone or ())])}
        if gone is not None:
            for name, version in self._tagged(ref):
                if (name, version) not in found:
                    try:
                        found[name, version] = self._visitor.get_model_version(name, version)
                    except MlflowException:
                        continue
        return [(each.run_id or "", each) for each in found.values()]

    def aliases(self, found: Iterable[tuple[str, Any]]) -> dict[tuple[str, str], tuple[str, ...]]:
        """Name and version of a model to its aliases: MLflow's search does not return them."""
        told: dict[tuple[str, str], list[str]] = {}
        for name in list(dict.fromkeys(version.name for _, version in found))[:MOST_NAMES]:
            try:
                known = self._visitor.get_registered_model(name).aliases
            except MlflowException:
                continue
            for alias, version in sorted(known.items()):
                told.setdefault((name, str(version)), []).append(str(alias))
        return {place: tuple(names) for place, names in told.items()}

    def _of_runs(self, run_ids: Sequence[str]) -> Iterator[Any]:
        wanted = [each for each in run_ids if each.isalnum()]
        wanted = wanted[:MOST_RUNS] if self._engine is None else self._with_models(wanted)
        for quoted in _quoted(wanted):
            try:
                yield from every(self._visitor.search_model_versions, f"run_id IN ({quoted})")
            except MlflowException:
                return

    def _with_models(self, run_ids: Sequence[str]) -> list[str]:
        from sqlalchemy import bindparam, text

        statement = text(private.RUNS_WITH_MODELS).bindparams(bindparam("values", expanding=True))
        found: list[str] = []
        with self._engine.connect() as connection:
            for start in range(0, len(run_ids), _IN_SQL):
                rows = connection.execute(statement, {"values": list(run_ids[start : start + _IN_SQL])})
                found += [row[0] for row in rows]
        return found

    def _tagged(self, ref: DatasetRef) -> list[tuple[str, str]]:
        from sqlalchemy import text

        if self._engine is None:
            return []
        within = "".join(f"!{each}" if each in "!%_" else each for each in f"{ref}@") + "%"
        asked = {"exact": str(ref), "within": within if ref.selector is None else ""}
        with self._engine.connect() as connection:
            return [(name, str(version)) for name, version in connection.execute(text(private.TAGGED_MODELS), asked)]


def runs_by_id(visitor: RestClient, run_ids: Sequence[str]) -> dict[str, Run]:
    """Run id to its facts, of the active runs that the user may read, in the order of the ids."""
    found: dict[str, Run] = {}
    for quoted in _quoted([each for each in run_ids if each.isalnum()]):
        condition = f"attributes.run_id IN ({quoted})"
        for run in visitor.search_runs(list(visitor.experiments), condition, max_results=_BATCH):
            found[run.info.run_id] = run_in(run, visitor.experiments)
    return {run_id: found[run_id] for run_id in run_ids if run_id in found}


def rows(found: Iterable[tuple[str, Any]], aliases: Mapping[tuple[str, str], tuple[str, ...]]) -> list[ModelRow]:
    """The models, without their runs: those with an alias or a stage first, then by name, the newest first."""
    told = []
    for _, version in found:
        stage = str(getattr(version, "current_stage", None) or "")
        names = aliases.get((version.name, str(version.version)), ())
        more = (stage.lower(),) if stage in ("Production", "Staging") and stage.lower() not in names else ()
        told.append(ModelRow(registered_model(version), (*names, *more)))
    return sorted(told, key=lambda row: (not row.aliases, row.model.name, -_number(row.model)))


def _quoted(run_ids: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(run_ids), _BATCH):
        yield ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _BATCH])


def _number(model: Model) -> int:
    return int(model.version) if model.version is not None and model.version.isdecimal() else 0
