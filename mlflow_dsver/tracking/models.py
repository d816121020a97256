"""Models and the data they were made from: registered with the data's references as tags, and found by them.

MLflow has no hook on registering a model, so `register_model` does it in the place of MLflow's own, and `tag_model`
afterwards. `models_using` finds both those and models that were registered or logged in any other way, through the
run that made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import TrackingError
from mlflow_dsver.lineage.facts import Model, Run
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import record
from mlflow_dsver.tracking.clients import new_client
from mlflow_dsver.tracking.lineage_queries import experiments, registered_model, runs_of, with_models
from mlflow_dsver.tracking.recorded import links_of
from mlflow_dsver.tracking.resolving import RefLike, resolve
from mlflow_dsver.versions import Link

DATASETS_TAG = "dsver.datasets"
"""On a registered model: the references that its newest version was made from, separated by blanks."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model that was made from a version. roles: those in which its run used the version, sorted."""

    model: Model
    run_id: str
    roles: tuple[str, ...]


def register_model(model_uri: str, name: str, **options: Any) -> Any:
    """MLflow's `register_model`, then the data's references as tags; gives MLflow's model version.

    options: what MLflow's function takes. A model whose run has no link is registered all the same.
    """
    import mlflow

    version = mlflow.register_model(model_uri, name, **options)
    tag_model(name, str(version.version))
    return version


def tag_model(name: str, version: str) -> dict[str, str]:
    """Write the references of a model version's data to it, to its registered model and to its logged model.

    Gives the tags of the model version, {} when its run has no link. Raises TrackingError when MLflow refuses.
    """
    client = new_client()
    try:
        found = client.get_model_version(name, version)
        run_id = found.run_id or _logged_run(client, found)
        links = links_of(client.get_run(run_id)) if run_id else {}
        tags = _tags(list(links.values()))
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        if tags:
            references = " ".join(dict.fromkeys(str(link.version.ref) for link in links.values()))
            client.set_registered_model_tag(name, DATASETS_TAG, references[: record.VALUE_LIMIT])
        model_id = registered_model(found).model_id
        if tags and model_id:
            client.set_logged_model_tags(model_id, tags)
    except MlflowException as error:
        raise TrackingError(f"the model {one_line(name, 80)} version {version} could not be tagged") from error
    return tags


def models_using(ref: RefLike) -> Iterator[ModelUse]:
    """Models that were made from a version, newest run first, each once.

    A moving selector means the version that it means now. Found through the runs that used the version, with the
    models that they logged or registered, and through the tags of models whose run is gone. Raises the provider's
    errors when the reference must be resolved, TrackingError when MLflow cannot be asked.
    """
    target = resolve(ref).ref
    client = new_client()
    seen: set[str] = set()
    try:
        names, token = experiments(client), None
        while True:
            runs, token = runs_of(client, names, target, token=token)
            for run in with_models(client, runs, list(names)):
                for use in _uses(run):
                    if use.model.key not in seen:
                        seen.add(use.model.key)
                        yield use
            if token is None:
                break
        for use in _tagged(client, str(target)):
            if use.model.key not in seen:
                seen.add(use.model.key)
                yield use
    except MlflowException as error:
        raise TrackingError("models could not be searched", reference=target) from error


def _uses(run: Run) -> Iterator[ModelUse]:
    roles = tuple(sorted(use.role for use in run.uses))
    for model in run.models:
        yield ModelUse(model, run.run_id, roles)


def _tagged(client: MlflowClient, reference: str) -> Iterator[ModelUse]:
    """Model versions whose tags name a version in the usual roles."""
    for role in ("training", "validation", "test", "eval"):
        found = client.search_model_versions(f"tags.`{record.key(role, 'version')}` = '{reference}'")
        for each in found:
            yield ModelUse(Model(each.name, str(each.version)), each.run_id or "", (role,))


def _tags(links: Sequence[Link]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for link in links:
        tags.update(record.tags(link))
    return tags


def _logged_run(client: MlflowClient, version: Any) -> str | None:
    model_id = registered_model(version).model_id
    return client.get_logged_model(model_id).source_run_id if model_id else None
