"""Patches MLflow's `start_run` and `end_run`, only where that is needed.

Both when runs are to be linked without a line in the script; `end_run` alone when a process was given files that are
checked at the end of its run.

MLflow has no hook for the start of a run; `mlflow_private.wrap_fluent` says what is wrapped and which runs it
reaches. A run that `MlflowClient.create_run` makes is not reached; `attach` links it. If MLflow has changed, one
warning is logged and runs are not linked. Imported while `import mlflow` is running: needs the standard library
alone, and raises nothing.
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
    """Wrap MLflow's `start_run` and `end_run`, now or as soon as MLflow has loaded them; only once."""
    try:
        mlflow_private.when_fluent_is_loaded(_wrap)
    except Exception as error:  # noqa: BLE001  (an `import mlflow` must not fail for it)
        _changed(error)


def watch_ends() -> None:
    """Wrap MLflow's `end_run` alone, if MLflow is loaded; a second time changes nothing."""
    module = mlflow_private.loaded_fluent()
    if module is not None:
        _wrap(module, {"end_run": _ending})


def _wrap(module: ModuleType, wrappers: Mapping[str, Wrapper] | None = None) -> None:
    try:
        mlflow_private.wrap_fluent(module, wrappers or {"start_run": _starting, "end_run": _ending})
    except Exception as error:  # noqa: BLE001  (as above)
        _changed(error)


def _starting(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def start_run(*arguments: Any, **named: Any) -> Any:
        if _busy.get():
            return original(*arguments, **named)
        autolink = _autolink()
        resolved = autolink.resolve_for_run(arguments, named)
        run = original(*arguments, **named)
        autolink.started(run, resolved)
        return run

    return start_run


def _ending(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def end_run(*arguments: Any, **named: Any) -> Any:
        if not _busy.get():
            autolink = _autolink()
            try:
                autolink.ending()
            except BaseException:  # Ctrl-C while it waited: MLflow still has to end the run
                original(*arguments, **named)
                raise
        return original(*arguments, **named)

    return end_run


def _autolink() -> Any:
    """The module called at the start and the end of a run; by name, as it builds on this one."""
    return import_module("mlflow_dsver.tracking.autolink")


def _changed(error: Exception) -> None:
    found = str(error) if isinstance(error, MlflowChanged) else f"{type(error).__name__}: {error}"
    _logger.warning(
        "MLflow has changed (%s): runs are not linked without a line; dsver.start_run and dsver.use work as ever",
        found,
    )
