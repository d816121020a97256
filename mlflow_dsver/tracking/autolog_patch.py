"""Patches the functions of MLflow that start and end runs, only where that is needed.

When runs are to be linked without a line in the script, these are `start_run` and `end_run` of the fluent API and the
methods below `MlflowClient.create_run` and `set_terminated`, which make all other runs: batched runs of autologging,
callbacks of training libraries, plain client code. The fluent functions call those methods too, so autolinking is
suppressed in them meanwhile. When a process was given files that are checked at the end of its run, it is `end_run`
alone; when the files that it reads are watched, all that ends runs.

MLflow has no hook for the start of a run; `mlflow_private` says what is wrapped. If MLflow has changed, one warning
is logged and runs are not linked. Imported while `import mlflow` is running: needs the standard library alone, and
raises nothing.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any

from mlflow_dsver.tracking import mlflow_private
from mlflow_dsver.tracking.mlflow_private import MlflowChanged, Wrapper

ENDED = frozenset({"FINISHED", "FAILED", "KILLED"})
"""Statuses of a run that is over."""
_busy: ContextVar[bool] = ContextVar("mlflow_dsver_busy", default=False)
_logger = logging.getLogger(__name__)


@contextmanager
def suppress_autolink() -> Iterator[None]:
    """Disable autolinking in this block: the caller links the runs that start or end in it."""
    token = _busy.set(True)
    try:
        yield
    finally:
        _busy.reset(token)


def install() -> None:
    """Wrap the functions that start and end runs, now or as soon as MLflow has loaded them; only once."""
    try:
        mlflow_private.when_fluent_is_loaded(_wrap_all)
    except Exception as error:  # noqa: BLE001  (an `import mlflow` must not fail for it)
        _changed(error)


def watch_ends() -> None:
    """Wrap MLflow's `end_run` alone, if MLflow is loaded; a second time changes nothing."""
    module = mlflow_private.loaded_fluent()
    if module is not None:
        _wrap(module, {"end_run": _ending})


def watch_all_ends() -> None:
    """Wrap what ends runs, of MlflowClient too, now or as soon as MLflow is loaded. Raises ImportError."""
    mlflow_private.when_fluent_is_loaded(_wrap_ends)


def _wrap_all(module: ModuleType) -> None:
    _wrap(module, {"start_run": _starting, "end_run": _ending})
    _wrap_client(create_run=_creating)


def _wrap_ends(module: ModuleType) -> None:
    _wrap(module, {"end_run": _ending})
    _wrap_client()


def _wrap_client(**wrappers: Wrapper) -> None:
    ends = {
        "set_terminated": functools.partial(_terminating, unless_given="FINISHED"),
        "update_run": functools.partial(_terminating, unless_given=None),
    }
    try:
        mlflow_private.wrap_client({**wrappers, **ends})
    except Exception as error:  # noqa: BLE001  (as above)
        _changed(error, "runs of MlflowClient")


def _wrap(module: ModuleType, wrappers: Mapping[str, Wrapper]) -> None:
    try:
        mlflow_private.wrap_fluent(module, wrappers)
    except Exception as error:  # noqa: BLE001  (as above)
        _changed(error)


def _starting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start_run(*arguments: Any, **named: Any) -> Any:
        if _busy.get():
            return original(*arguments, **named)
        autolink = _autolink()
        resolved = autolink.resolve_for_run(mlflow_private.arguments_of(original, arguments, named))
        with suppress_autolink():
            run = original(*arguments, **named)
        autolink.started(run, resolved)
        return run

    return start_run


def _creating(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create_run(client: Any, *arguments: Any, **named: Any) -> Any:
        if _busy.get():
            return original(client, *arguments, **named)
        autolink = _autolink()
        by_name = mlflow_private.arguments_of(original, (client, *arguments), named)
        resolved = autolink.resolve_for_created_run(client.tracking_uri, by_name)
        run = original(client, *arguments, **named)
        autolink.started(run, resolved, client.tracking_uri)
        return run

    return create_run


def _ending(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def end_run(*arguments: Any, **named: Any) -> Any:
        if _busy.get():
            return original(*arguments, **named)
        try:
            _autolink().ending()
        except BaseException:  # Ctrl-C while it waited: MLflow still has to end the run
            with suppress_autolink():
                original(*arguments, **named)
            raise
        with suppress_autolink():
            return original(*arguments, **named)

    return end_run


def _terminating(original: Callable[..., Any], *, unless_given: str | None) -> Callable[..., Any]:
    """The wrapper of a method that sets the status of a run. unless_given: the status that it sets without one."""

    @functools.wraps(original)
    def terminate(client: Any, *arguments: Any, **named: Any) -> Any:
        if not _busy.get():
            by_name = mlflow_private.arguments_of(original, (client, *arguments), named)
            if (by_name.get("status") or unless_given) in ENDED:
                try:
                    _autolink().ending(by_name["run_id"])
                except BaseException:  # as above
                    original(client, *arguments, **named)
                    raise
        return original(client, *arguments, **named)

    return terminate


def _autolink() -> Any:
    """The module called at the start and the end of a run; by name, as it builds on this one."""
    return import_module("mlflow_dsver.tracking.autolink")


def _changed(error: Exception, what: str = "runs") -> None:
    found = str(error) if isinstance(error, MlflowChanged) else f"{type(error).__name__}: {error}"
    _logger.warning(
        "MLflow has changed (%s): %s are not linked without a line; dsver.start_run and dsver.use work as ever",
        found,
        what,
    )
