"""MLflow's private parts inside a tracking server: its application, its REST interface, the tables of its database.

Imported by `mlflow_dsver.server` alone. MLflow's own server modules are imported in the functions: importing them
opens stores, and mlflow-skinny does not have them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow_dsver import settings

# The application: `mlflow.server.app`, `create_fastapi_app`, `_add_static_prefix`, `_MLFLOW_SGI_NAME`
#
# Needed: the lineage pages are routes of MLflow's own server, below its static prefix. The public entry point group
# `mlflow.app` lets a plug-in name the application to serve. No public way: it does not give MLflow's application to
# the plug-in, nor the prefix, nor does it say whether the server speaks ASGI (MLflow 3) or WSGI.

ACTIONS_PREFIX = "/ajax-api/2.0"
"""Paths that MLflow 3 protects from requests of other sites; MLflow documents `/api/2.0`, which it does not."""


def flask_app() -> Any:
    """MLflow's Flask application of this process."""
    from mlflow.server import app

    return app


def served_app(app: Any) -> Any:
    """What the server has to serve for a Flask application: on MLflow 3 a FastAPI one that contains it."""
    if settings.text("_MLFLOW_SGI_NAME") != "uvicorn":
        return app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(app)


def prefixed(path: str) -> str:
    """A path below the static prefix of this server (`mlflow server --static-prefix`)."""
    from mlflow.server.handlers import _add_static_prefix

    return str(_add_static_prefix(path))


# Logins: `mlflow.server.auth.BEFORE_REQUEST_VALIDATORS`
#
# Needed: with MLFLOW_BASIC_AUTH_FAIL_CLOSED, `basic-auth` of MLflow 3 denies all routes that it does not know, the
# lineage pages among them. No public way: routes become known in this table alone, by path and method.


def allow_logged_in(routes: Iterable[tuple[str, str]]) -> None:
    """Let every visitor who is logged in reach these (path, method); nothing without `basic-auth` in this process."""
    validators = getattr(sys.modules.get("mlflow.server.auth"), "BEFORE_REQUEST_VALIDATORS", None)
    if isinstance(validators, dict):
        validators.update(dict.fromkeys(routes, lambda: True))


# The REST interface from inside: `mlflow.protos`, `from_proto`, `parse_dict`, `PagedList`, `/get-artifact`
#
# Needed: a page shows what MLflow shows this visitor, so it asks MLflow's routes in the process with the visitor's
# own headers. No public way: MLflowClient sends one login for the whole process over the network, and making an
# entity from a JSON response takes MLflow's protos. No documented route gives an artifact's bytes for every kind of
# artifact store; `/get-artifact` is the one that MLflow's own pages use.

ARTIFACT_PATH = "/get-artifact"

_RESPONSES: Mapping[str, tuple[str, str, str, str]] = {
    "experiments/search": ("service_pb2", "SearchExperiments", "experiments", "Experiment"),
    "runs/search": ("service_pb2", "SearchRuns", "runs", "Run"),
    "runs/get": ("service_pb2", "GetRun", "run", "Run"),
    "logged-models/search": ("service_pb2", "SearchLoggedModels", "models", "LoggedModel"),
    "model-versions/search": ("model_registry_pb2", "SearchModelVersions", "model_versions", "ModelVersion"),
    "model-versions/get": ("model_registry_pb2", "GetModelVersion", "model_version", "ModelVersion"),
    "registered-models/get": ("model_registry_pb2", "GetRegisteredModel", "registered_model", "RegisteredModel"),
}
"""Path of a call below `/ajax-api/2.0/mlflow` to: module and message of its response, field, and entity in it."""


def has_call(path: str) -> bool:
    """Whether this MLflow knows the call; MLflow 2 has no logged models."""
    module, message, _, _ = _RESPONSES[path]
    return hasattr(_proto_module(module), message)


def parse_response(path: str, content: Mapping[str, Any]) -> Any:
    """MLflow's entity in the JSON response of a call; of a search a page of them, a list with `token`."""
    from mlflow import entities
    from mlflow.entities import model_registry
    from mlflow.store.entities.paged_list import PagedList
    from mlflow.utils.proto_json_utils import parse_dict

    module, name, field, entity = _RESPONSES[path]
    message = getattr(_proto_module(module), name).Response()
    parse_dict(content, message)
    kind: Any = getattr(model_registry if module == "model_registry_pb2" else entities, entity)
    found = getattr(message, field)
    if path.endswith("/search"):
        return PagedList([kind.from_proto(each) for each in found], message.next_page_token or None)
    return kind.from_proto(found)


def empty_page() -> Any:
    """A page of a search that found nothing."""
    from mlflow.store.entities.paged_list import PagedList

    return PagedList([], None)


def _proto_module(name: str) -> Any:
    from mlflow.protos import model_registry_pb2, service_pb2

    return service_pb2 if name == "service_pb2" else model_registry_pb2


# Workspaces: `MLFLOW_ENABLE_WORKSPACES`, `get_request_workspace`, the header, the list
#
# Needed: a page is about one workspace, of its address or else of its request, and its questions go there. No public
# way: MLflow resolves the workspace of a request for its own routes alone, and its pages ask for the list.

WORKSPACE_HEADER = "X-MLFLOW-WORKSPACE"
WORKSPACES_PATH = "/ajax-api/3.0/mlflow/workspaces"


def has_workspaces() -> bool:
    """Whether the server has workspaces."""
    from mlflow import environment_variables

    variable = getattr(environment_variables, "MLFLOW_ENABLE_WORKSPACES", None)  # MLflow 2 has none
    return variable is not None and bool(variable.get())


def request_workspace() -> str | None:
    """The workspace of the request that is answered here, on a server with workspaces; None when it has none."""
    from mlflow.utils.workspace_context import get_request_workspace

    return str(get_request_workspace() or "") or None


# The database: `_get_tracking_store`, `_get_model_registry_store`, and MLflow's tables
#
# Needed: the list of datasets, how many runs used each, and the models made from one, over all runs of a store.
# No public way: MLflow's search has no grouping and no filter by dataset source, so each page would read every run of
# the store. Read only, for experiments that the visitor may read; what is shown of a run itself comes from MLflow's
# own search with the visitor's login.

TABLES: Mapping[str, tuple[str, ...]] = {
    "datasets": (
        "experiment_id",
        "dataset_uuid",
        "name",
        "digest",
        "dataset_source_type",
        "dataset_source",
        "dataset_profile",
    ),
    "inputs": ("input_uuid", "source_type", "source_id", "destination_type", "destination_id"),
    "input_tags": ("input_uuid", "name", "value"),
    "runs": ("run_uuid", "experiment_id", "start_time", "lifecycle_stage"),
    "tags": ("run_uuid", "key", "value"),
    "model_versions": ("run_id", "name", "version"),
    "model_version_tags": ("name", "version", "key", "value"),
}
"""The tables and columns that the queries below read."""

OURS = "d.dataset_source_type = :type AND d.name LIKE '%://%@%' AND d.digest LIKE '________________'"
"""Dataset rows that are records of ours: a version's reference with a digest as we make them."""
OTHERS = "d.dataset_source_type = :type AND NOT (d.name LIKE '%://%@%' AND d.digest LIKE '________________')"
_POSITION_OF_AT = {"postgresql": "STRPOS(d.name, '@')", "mssql": "CHARINDEX('@', d.name)"}
_DATASET = "SUBSTRING(d.name, 1, CASE WHEN {at} > 0 THEN {at} - 1 ELSE 0 END)"
"""The dataset's reference of a record of ours, in which no other @ stands."""
_INPUTS = "inputs i ON i.source_id = d.dataset_uuid AND i.source_type = 'DATASET' AND i.destination_type = 'RUN'"
_ACTIVE = "runs r ON r.run_uuid = i.destination_id AND r.lifecycle_stage = 'active'"
_COLUMNS = "d.experiment_id, d.dataset_uuid, d.name, d.dataset_source, d.dataset_profile"

DATASET_NAMES = """
SELECT DISTINCT d.experiment_id, {dataset} FROM datasets d
WHERE {ours} AND (LOWER({dataset}) LIKE :wanted ESCAPE '!' OR LOWER(d.dataset_source) LIKE :named ESCAPE '!')
"""
VERSIONS_OF = "SELECT DISTINCT d.experiment_id, d.name FROM datasets d WHERE {ours} AND {dataset} IN :values"
RUNS_OF = """
SELECT r.experiment_id, d.name, r.run_uuid, r.start_time FROM datasets d JOIN {inputs} JOIN {active}
WHERE {ours} AND {dataset} IN :values
"""
ALL_VERSIONS = """
SELECT d.experiment_id, d.name, r.experiment_id, MAX(r.start_time)
FROM datasets d LEFT JOIN {inputs} LEFT JOIN {active}
WHERE {ours} GROUP BY d.experiment_id, d.name, r.experiment_id
"""
ROWS_OF = "SELECT {columns} FROM datasets d WHERE {ours} AND (d.name = :exact OR d.name LIKE :within ESCAPE '!')"
ROWS = "SELECT {columns} FROM datasets d WHERE {ours} AND d.name IN :values"
OTHER_ROWS = "SELECT {columns} FROM datasets d WHERE {others} AND d.dataset_source LIKE :within ESCAPE '!'"
USES = """
SELECT r.experiment_id, i.source_id, r.run_uuid, r.start_time, r.lifecycle_stage, t.value
FROM inputs i JOIN runs r ON r.run_uuid = i.destination_id
LEFT JOIN input_tags t ON t.input_uuid = i.input_uuid AND t.name = 'mlflow.data.context'
WHERE i.source_type = 'DATASET' AND i.destination_type = 'RUN' AND i.source_id IN :values
"""
INCOMPLETE = """
SELECT r.experiment_id, v.value, r.run_uuid, r.start_time, r.lifecycle_stage, v.key
FROM tags e JOIN tags v ON v.run_uuid = e.run_uuid AND v.key LIKE 'dsver.%.version'
JOIN runs r ON r.run_uuid = v.run_uuid
WHERE e.key = 'dsver.error' AND v.value LIKE :within ESCAPE '!'
"""
TAGS = "SELECT t.run_uuid, t.key, t.value FROM tags t WHERE t.key IN :keys AND t.run_uuid IN :values"
RUNS_WITH_MODELS = "SELECT DISTINCT run_id FROM model_versions WHERE run_id IN :values"
TAGGED_MODELS = """
SELECT name, version FROM model_version_tags
WHERE key LIKE 'dsver.%.version' AND (value = :exact OR value LIKE :within ESCAPE '!')
"""


def sql(query: str, database: str) -> str:
    """A query above for a kind of database, by SQLAlchemy's name for it."""
    at = _POSITION_OF_AT.get(database, "INSTR(d.name, '@')")
    return query.format(
        ours=OURS, others=OTHERS, inputs=_INPUTS, active=_ACTIVE, columns=_COLUMNS, dataset=_DATASET.format(at=at)
    )


def tracking_engine() -> Any | None:
    """SQLAlchemy's engine of this server's tracking store; None when it keeps its runs elsewhere."""
    from mlflow.server.handlers import _get_tracking_store

    return getattr(_get_tracking_store(), "engine", None)


def registry_engine() -> Any | None:
    """SQLAlchemy's engine of this server's model registry; None when it keeps its models elsewhere."""
    from mlflow.exceptions import MlflowException
    from mlflow.server.handlers import _get_model_registry_store

    try:
        return getattr(_get_model_registry_store(), "engine", None)
    except MlflowException:
        return None
