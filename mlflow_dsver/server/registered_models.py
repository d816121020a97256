"""The registered models that were created from a dataset or a version, and that the user may read.

The registry's database lists the runs with models, and the models with a version in their tags; the models
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
from mlflow_dsver.tracking.queries import tagged

MOST_RUNS = 1000
"""Maximum runs whose models are requested, if the registry has no database."""
MOST_NAMES = 100
"""Maximum registered models whose aliases are requested."""
_BATCH = 100
_IN_SQL = 900


class Registry:
    """The models of a dataset or version. engine: SQLAlchemy's, of the model registry; None if it has none."""

    def __init__(self, client: RestClient, engine: Any) -> None:
        self._client = client
        self._engine = engine

    def made_from(
        self, ref: DatasetRef, run_ids: Sequence[str], deleted_runs: Sequence[str] | None
    ) -> list[tuple[str, Any]]:
        """Run id and model version of each registered model of these runs.

        deleted_runs: deleted runs, whose models count as well, and those that have the version in their tags; None
        for neither. The run id is empty where MLflow does not know the run.
        """
        found = {(each.name, str(each.version)): each for each in self._of_runs([*run_ids, *(deleted_runs or ())])}
        if deleted_runs is not None:
            for name, version in self._tagged(ref):
                if (name, version) not in found:
                    try:
                        model = self._client.get_model_version(name, version)
                    except MlflowException:
                        continue
                    if any(ref in (used, used.at(None)) for used in tagged(model.tags).values()):
                        found[name, version] = model  # and not one of the same name in another workspace
        return [(each.run_id or "", each) for each in found.values()]

    def aliases(self, found: Iterable[tuple[str, Any]]) -> dict[tuple[str, str], tuple[str, ...]]:
        """Name and version of a model to its aliases: MLflow's search does not return them."""
        by_model: dict[tuple[str, str], list[str]] = {}
        for name in list(dict.fromkeys(version.name for _, version in found))[:MOST_NAMES]:
            try:
                known = self._client.get_registered_model(name).aliases
            except MlflowException:
                continue
            for alias, version in sorted(known.items()):
                by_model.setdefault((name, str(version)), []).append(str(alias))
        return {model: tuple(names) for model, names in by_model.items()}

    def _of_runs(self, run_ids: Sequence[str]) -> Iterator[Any]:
        requested = [each for each in run_ids if each.isalnum()]
        requested = requested[:MOST_RUNS] if self._engine is None else self._with_models(requested)
        for quoted in _quoted(requested):
            try:
                yield from every(self._client.search_model_versions, f"run_id IN ({quoted})")
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
        parameters = {"exact": str(ref), "within": within if ref.selector is None else ""}
        with self._engine.connect() as connection:
            return [
                (name, str(version)) for name, version in connection.execute(text(private.TAGGED_MODELS), parameters)
            ]


def runs_by_id(client: RestClient, run_ids: Sequence[str]) -> dict[str, Run]:
    """Run id to its facts, of the active runs that the user may read, in the order of the ids."""
    found: dict[str, Run] = {}
    for quoted in _quoted([each for each in run_ids if each.isalnum()]):
        condition = f"attributes.run_id IN ({quoted})"
        for run in client.search_runs(list(client.experiments), condition, max_results=_BATCH):
            found[run.info.run_id] = run_in(run, client.experiments)
    return {run_id: found[run_id] for run_id in run_ids if run_id in found}


def rows(found: Iterable[tuple[str, Any]], aliases: Mapping[tuple[str, str], tuple[str, ...]]) -> list[ModelRow]:
    """The models, without their runs: those with an alias or a stage first, then by name, the newest first."""
    listed = []
    for _, version in found:
        stage = str(getattr(version, "current_stage", None) or "")
        names = aliases.get((version.name, str(version.version)), ())
        more = (stage.lower(),) if stage in ("Production", "Staging") and stage.lower() not in names else ()
        listed.append(ModelRow(registered_model(version), (*names, *more)))
    return sorted(listed, key=lambda row: (not row.aliases, row.model.name, -_number(row.model)))


def _quoted(run_ids: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(run_ids), _BATCH):
        yield ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + _BATCH])


def _number(model: Model) -> int:
    return int(model.version) if model.version is not None and model.version.isdecimal() else 0
