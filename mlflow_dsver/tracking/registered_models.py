"""Models and the data they were made from: tags with the data's references, and the search for models of a version.

MLflow has no hook on registering a model, so `register_model` wraps MLflow's own, and `tag_model` tags a registered
one. `models_using` finds those, and models registered or logged in any other way, through the run that made them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.errors import TrackingError
from mlflow_dsver.model.refs import LATEST, DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion, Link
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import Model, Run
from mlflow_dsver.record.reader import all_links_of
from mlflow_dsver.resolution.version_files import RefLike, resolve
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.clients import new_client, workspace_of
from mlflow_dsver.tracking.lineage_queries import registered_model, runs_of_version, with_models
from mlflow_dsver.tracking.mlflow_private import in_workspace
from mlflow_dsver.tracking.queries import Origins, Tracking, origins
from mlflow_dsver.tracking.run_search import clients_in, experiment_names

DATASETS_TAG = "dsver.datasets"
"""On a registered model: the references that its newest version was made from, separated by blanks."""


@dataclass(frozen=True, slots=True)
class ModelUse:
    """A model that was made from a version. roles: those in which its run used the version, sorted.

    workspace: the one that has it; None where none is active and none was asked for.
    """

    model: Model
    run_id: str
    roles: tuple[str, ...]
    workspace: str | None = None


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
        links = all_links_of(client.get_run(run_id)) if run_id else {}
        tags = _tags(list(links.values()))
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
        if tags:
            references = " ".join(dict.fromkeys(str(link.version.ref) for link in links.values()))
            client.set_registered_model_tag(name, DATASETS_TAG, references[: schema.VALUE_LIMIT])
        model_id = registered_model(found).model_id
        if tags and model_id:
            client.set_logged_model_tags(model_id, tags)
    except MlflowException as error:
        raise TrackingError(f"the model {one_line(name, 80)} version {version} could not be tagged") from error
    return tags


def models_using(ref: RefLike, *, workspace: str | None = None) -> Iterator[ModelUse]:
    """Models that were made from a version, newest run first, each once.

    workspace: the one to look in, or "*" for all that the user may read, one after the other; None is the active one.
    A moving selector means the version that it means now; a reference recorded verbatim needs no provider.
    Found through the runs that used the version, deleted ones too, with the models that they logged or registered;
    and through the tags of all model versions, in any role, and those that they are copies of. Raises the provider's
    errors when the reference must be resolved, TrackingError when a request to MLflow fails.
    """
    within = clients_in(workspace)
    target = ref.ref if isinstance(ref, DatasetVersion) else parse(ref)
    if isinstance(ref, DatasetVersion) or target.selector in (None, LATEST):
        yield from _models_in(within, resolve(ref).ref)
        return
    found = _models_in(within, target)
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
        return
    meant = resolve(ref).ref
    if meant != target:
        yield from _models_in(within, meant)


def recorded_models(ref: DatasetRef) -> Iterator[ModelUse]:
    """Models that were made from exactly this version, as recorded; no provider is asked. Raises TrackingError."""
    return _models_in(clients_in(None), ref)


def _models_in(within: Sequence[MlflowClient], target: DatasetRef) -> Iterator[ModelUse]:
    for client in within:
        workspace = workspace_of(client)
        for use in _models_of(client, target):
            yield replace(use, workspace=workspace)


def _models_of(client: MlflowClient, target: DatasetRef) -> Iterator[ModelUse]:
    seen: set[str] = set()
    try:
        names = experiment_names(client)
        used: dict[str, Origins] = {}
        for deleted in (False, True):
            runs = runs_of_version(client, names, target, deleted=deleted)
            while some := list(islice(runs, 100)):
                used.update((run.run_id, {use.role: use.version for use in run.uses}) for run in some)
                with in_workspace(workspace_of(client)):
                    made = with_models(client, some, list(names))
                for use in chain.from_iterable(map(_uses, made)):
                    if use.model.key not in seen:
                        seen.add(use.model.key)
                        yield use
    except MlflowException as error:
        raise TrackingError("models could not be searched", reference=target) from error
    models = {(each.name, each.version): each for each in Tracking(workspace=workspace_of(client)).model_versions()}
    for (name, version), made_from in origins(models.values(), used).items():
        use = ModelUse(
            Model(name, version),
            models[name, version].run_id or "",
            tuple(sorted(role for role, used_ref in made_from.items() if used_ref == target)),
        )
        if use.roles and use.model.key not in seen:
            seen.add(use.model.key)
            yield use


def _uses(run: Run) -> Iterator[ModelUse]:
    roles = tuple(sorted(use.role for use in run.uses))
    for model in run.models:
        yield ModelUse(model, run.run_id, roles)


def _tags(links: Sequence[Link]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for link in links:
        tags.update(schema.tags(link))
    return tags


def _logged_run(client: MlflowClient, version: Any) -> str | None:
    model_id = registered_model(version).model_id
    return client.get_logged_model(model_id).source_run_id if model_id else None
