"""MLflow's private parts on the client's side: everything used here that is not MLflow's documented public API.

An upgrade of MLflow is checked in this package alone. Each part says what it is needed for and which public way is
missing; `tests/tracking/test_mlflow_private.py` has a test for each, which fails when MLflow moves it.
`mlflow_private.artifacts` has the parts about artifacts, `mlflow_private.server` those of a tracking server.

This module is imported while `import mlflow` is still running (see `tracking.source`), so it needs the standard
library alone at module level.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from mlflow_dsver.tracking.mlflow_private.artifacts import artifact_repository as artifact_repository
from mlflow_dsver.tracking.mlflow_private.artifacts import download_artifact as download_artifact

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException


# HTTP timeouts of one call: `mlflow.environment_variables`
#
# Needed: a tracking server that is down must not hold the start of a run; MLflow's own retries were measured to take
# 246 seconds, and its start of a run belongs to the caller's thread, where nothing can stop it.
# No public way: the client takes no timeout. Setting MLFLOW_HTTP_REQUEST_TIMEOUT and …_MAX_RETRIES would change
# every thread and child process. MLflow reads the two variables once per request through module-level objects; their
# `get` looks at a context variable first, which new threads do not inherit. If MLflow reads them in another way one
# day, its own timeouts apply.

_http_bounds: ContextVar[dict[str, int] | None] = ContextVar("mlflow_dsver_http_bounds", default=None)
_PATCHED_GET = "mlflow_dsver_get"


@contextmanager
def short_http_timeouts(seconds: float, retries: int = 1) -> Iterator[None]:
    """In this block each HTTP request of MLflow waits `seconds` (at least 1) and is retried `retries` times."""
    from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

    for variable in (MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT):
        _read_context_first(variable)
    bounds = {
        MLFLOW_HTTP_REQUEST_MAX_RETRIES.name: retries,
        MLFLOW_HTTP_REQUEST_TIMEOUT.name: max(1, int(seconds)),
    }
    token = _http_bounds.set(bounds)
    try:
        yield
    finally:
        _http_bounds.reset(token)


def _read_context_first(variable: Any) -> None:
    """Patch `get` of one of MLflow's environment variables; a second call changes nothing."""
    if getattr(vars(variable).get("get"), "__name__", None) == _PATCHED_GET:
        return
    read: Any = type(variable).get

    def mlflow_dsver_get() -> Any:
        bounds = _http_bounds.get()
        return read(variable) if bounds is None else bounds[variable.name]

    variable.get = mlflow_dsver_get


# Workspaces (MLflow 3.10 and later): `mlflow.utils.workspace_context`
#
# Needed: a record is written by a thread of ours, and later by `sync`, to the workspace that has the run; questions
# over several workspaces ask one after the other. No public way: a client has no workspace. `mlflow.set_workspace`
# and `WorkspaceContext` change the environment of the process, so every other thread; MLflow reads a context variable
# before it, for each request.


DEFAULT_WORKSPACE = "default"
"""The workspace of a server that requests without a workspace go to."""


def active_workspace() -> str | None:
    """The workspace that MLflow's requests go to here; None for the server's default, and on MLflow without any."""
    context = _workspace_context()
    return None if context is None else context.get_request_workspace()


@contextmanager
def in_workspace(name: str | None) -> Iterator[None]:
    """In this block, and in this thread, MLflow's requests go to that workspace; None changes nothing.

    Raises SettingsError for a name where this MLflow knows no workspaces.
    """
    if name is None:
        yield
        return
    context = _workspace_context()
    if context is None:
        from mlflow_dsver.errors import SettingsError

        raise SettingsError("this MLflow has no workspaces", got=name, tip="pip install 'mlflow>=3.10'")
    token = context._WORKSPACE.set(name)
    try:
        yield
    finally:
        context._WORKSPACE.reset(token)


def workspace_names(client: MlflowClient) -> list[str] | None:
    """The workspaces that the user may read; None where the server, or this MLflow, has none.

    The store is asked first, as MLflow repeats the request for the list to a server without workspaces for minutes.
    """
    from mlflow.exceptions import MlflowException

    try:
        if not getattr(client._tracking_client.store, "supports_workspaces", False):
            return None
    except MlflowException as error:
        if error.error_code == "INVALID_PARAMETER_VALUE":  # a server that is too old to tell
            return None
        raise
    return [str(each.name) for each in client.list_workspaces()]


def _workspace_context() -> Any | None:
    try:
        from mlflow.utils import workspace_context
    except ImportError:
        return None
    return workspace_context


# Starting and ending runs: `mlflow.tracking.fluent`, `TrackingServiceClient`, `mlflow.utils.import_hooks`
#
# Needed: linking runs without a line in the script (MLFLOW_DSVER_INPUTS, `autolink`), and the check of files at the
# end of a run. No public way: MLflow has no hook for the start or end of a run (`mlflow.run_context` providers give
# tags only). Fluent runs (`with mlflow.start_run()`, autologging, the implicit run of the first `log_…`) call
# `start_run` and `end_run` of the fluent module by name. All other runs (`MlflowClient.create_run`, the batched runs
# of autologging, callbacks of training libraries) are made and ended by methods of TrackingServiceClient, which the
# fluent functions call as well.

FLUENT_MODULE = "mlflow.tracking.fluent"
FLUENT_PARAMETERS = {"start_run": {"run_id", "nested", "tags"}, "end_run": {"status"}}
"""The functions that are wrapped, and the parameters without which MLflow has changed."""
CLIENT_MODULE, CLIENT_CLASS = "mlflow.tracking._tracking_service.client", "TrackingServiceClient"
CLIENT_PARAMETERS = {
    "create_run": {"experiment_id", "tags"},
    "set_terminated": {"run_id", "status"},
    "update_run": {"run_id", "status"},
}
"""The same for the methods of the class."""
_LAST_NAME = "_safe_end_run"
"""A name that the module defines after the functions that are wrapped: without it the module is half imported."""
_WRAPPED = "__mlflow_dsver__"

Wrapper = Callable[[Callable[..., Any]], Callable[..., Any]]


class MlflowChanged(Exception):
    """A private part of MLflow is not what this version of the package knows."""


def loaded_fluent() -> ModuleType | None:
    """`mlflow.tracking.fluent` if it is imported completely, else None."""
    module = sys.modules.get(FLUENT_MODULE)
    return module if module is not None and hasattr(module, _LAST_NAME) else None


def when_fluent_is_loaded(call: Callable[[ModuleType], None]) -> None:
    """Call with `mlflow.tracking.fluent` now, or as soon as it is imported. Raises ImportError if MLflow has changed.

    What the call raises later breaks `import mlflow`.
    """
    module = loaded_fluent()
    if module is not None:
        call(module)
        return
    from mlflow.utils.import_hooks import register_post_import_hook

    register_post_import_hook(call, FLUENT_MODULE)


def wrap_fluent(module: ModuleType, wrappers: Mapping[str, Wrapper]) -> None:
    """Replace functions of the module, and the same names of `mlflow`, by wrapped ones; once, however often called.

    Raises MlflowChanged, before anything is replaced, for a function without the parameters that are known here;
    AttributeError for one that is gone.
    """
    _check_parameters(module, FLUENT_PARAMETERS)
    for name, (original, wrapped) in _wrap(module, wrappers).items():
        if getattr(sys.modules.get("mlflow"), name, None) is original:
            setattr(sys.modules["mlflow"], name, wrapped)


def wrap_client(wrappers: Mapping[str, Wrapper]) -> None:
    """Replace methods of TrackingServiceClient by wrapped ones; once, however often called. Raises as `wrap_fluent`.

    Such a client has its store's address as `tracking_uri`.
    """
    client = getattr(import_module(CLIENT_MODULE), CLIENT_CLASS)
    _check_parameters(client, CLIENT_PARAMETERS)
    _wrap(client, wrappers)


def arguments_of(
    function: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name. Raises TypeError for what the function does not take, as it does itself."""
    return dict(inspect.signature(function).bind_partial(*arguments, **named).arguments)


def _check_parameters(owner: Any, known: Mapping[str, set[str]]) -> None:
    for name, needed in known.items():
        missing = needed - set(inspect.signature(getattr(owner, name)).parameters)
        if missing:
            raise MlflowChanged(f"{owner.__name__}.{name} takes no {', '.join(sorted(missing))}")


def _wrap(owner: Any, wrappers: Mapping[str, Wrapper]) -> dict[str, tuple[Any, Any]]:
    """Name to (original, wrapped) of what was not wrapped before."""
    replaced = {}
    for name, wrapper in wrappers.items():
        original = getattr(owner, name)
        if hasattr(original, _WRAPPED):
            continue
        wrapped = wrapper(original)
        setattr(wrapped, _WRAPPED, True)
        setattr(owner, name, wrapped)
        replaced[name] = (original, wrapped)
    return replaced


# The fields of an active run: `mlflow.entities.Run._inputs` and `._data`
#
# Needed: `run.inputs` and `run.data` of `dsver.start_run` show the links, which are written after MLflow made the
# object; and a pickled run keeps them. No public way: the properties have no setter, and MLflow 2.22 leaves the
# inputs out of an active run.


def set_inputs(run: Any, inputs: Any) -> None:
    """Set what `run.inputs` gives."""
    run._inputs = inputs


def state_of(run: Any, shown: Any) -> dict[str, Any]:
    """The attributes of a run for pickling, with inputs and data taken from `shown`."""
    return {**vars(run), "_inputs": shown._inputs, "_data": shown._data}


# Telling errors apart: messages of MlflowException
#
# Needed: some errors call for another attempt, others do not. No public way: `error_code` is the same for a lost
# race, a value that is too long and a malformed request (BAD_REQUEST or INVALID_PARAMETER_VALUE, by store), and a
# request that got no answer has INTERNAL_ERROR like a bug in the server.

_UNANSWERED = re.compile(r"API request to .* failed with", re.DOTALL)
_LOST_RACE = re.compile(
    r"unique constraint|duplicate key|duplicate entry|integrityerror|database is locked|deadlock|serializ", re.I
)
_REFUSED = re.compile(  # a store of files says the third, a database what follows
    r"INVALID_PARAMETER_VALUE|BAD_REQUEST|Changing param values|too long|exceeds|truncat", re.I
)
_UNSUPPORTED = re.compile(r"not.*support|support.*not", re.I | re.DOTALL)


def is_unanswered(error: MlflowException) -> bool:
    """Whether a request got no answer, after all retries."""
    return _UNANSWERED.search(str(error)) is not None


def is_lost_race(error: MlflowException) -> bool:
    """Whether another process wrote the same row of the database first, so that another attempt may succeed."""
    return _LOST_RACE.search(str(error)) is not None


def is_refused_value(error: MlflowException) -> bool:
    """Whether the server refused a param or tag: too long, or a param that has another value already."""
    return _REFUSED.search(f"{error.error_code} {error}") is not None


def is_missing_endpoint(error: MlflowException) -> bool:
    """Whether the server does not have this part of the REST API (an old or a partial server)."""
    return error.error_code in ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")


def is_missing(error: MlflowException) -> bool:
    """Whether there is no such run or dataset; stores and servers differ in the code."""
    return error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")


def is_unsupported(error: BaseException | None) -> bool:
    """Whether a store says that it does not support the call, such as a model registry in a folder of files."""
    return _UNSUPPORTED.search(str(error)) is not None


# Names of datasets in use: `client._tracking_client.store`, `http_request`, table `datasets`
#
# Needed: `runs_using` finds runs whose input is a dataset version under any name (logged by `mlflow.log_input`).
# No public way: `search_runs` filters by dataset name and digest, not by source or source type, and no call of
# MlflowClient lists datasets. Where the store is a database that this process opens, one query tells; else the
# summaries that MLflow's own pages ask for, at most `MAX_SUMMARIES` of `MAX_SUMMARY_EXPERIMENTS` at a time.

MAX_SUMMARIES, MAX_SUMMARY_EXPERIMENTS = 1000, 20
"""Summaries that MLflow gives at most, without saying that there are more; experiments it takes in one request."""
_SUMMARIES_PATH = "/ajax-api/2.0/mlflow/experiments/search-datasets"
_FOREIGN_NAMES = """
SELECT DISTINCT name, digest FROM datasets
WHERE dataset_source_type = :type AND NOT (name LIKE '%://%@%' AND digest LIKE '________________')
"""
"""Most records of ours are left out here; the caller looks at the rest."""


def tracking_engine(client: MlflowClient) -> Any | None:
    """SQLAlchemy's engine of a tracking store in a database that this process opens; None for any other store."""
    return getattr(client._tracking_client.store, "engine", None)


def dataset_names(engine: Any, source_type: str) -> list[tuple[str, str]]:
    """Name and digest of the datasets of that source type in a tracking database that may not be records of ours."""
    from sqlalchemy import text

    with engine.connect() as connection:
        return [(name, digest) for name, digest in connection.execute(text(_FOREIGN_NAMES), {"type": source_type})]


def dataset_summaries(client: MlflowClient, experiments: list[str]) -> list[tuple[str, str]] | None:
    """Name and digest of each dataset of some experiments; None where the server does not tell."""
    store = client._tracking_client.store
    if hasattr(store, "_search_datasets"):
        return [(each.name, each.digest) for each in store._search_datasets(experiments)]
    if not hasattr(store, "get_host_creds"):
        return None
    from mlflow.utils.rest_utils import http_request

    response = http_request(store.get_host_creds(), _SUMMARIES_PATH, "POST", json={"experiment_ids": experiments})
    content = response.json() if response.status_code == 200 else None
    summaries = content.get("dataset_summaries", []) if isinstance(content, dict) else None
    return None if summaries is None else [(str(each["name"]), str(each["digest"])) for each in summaries]
