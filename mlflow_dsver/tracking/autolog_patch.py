"""The one place where MLflow is changed: when a person asked for runs to be linked without a line, and, for the end
of runs alone, when a process was given files that are looked at again then.

MLflow has no hook for the start of a run. So `start_run` and `end_run` of `mlflow.tracking.fluent` are wrapped: all
ways to begin a run that go through MLflow's fluent functions call them by these names (`with mlflow.start_run()`, the
runs that autologging begins, the implicit run of the first `log_…`, the resumed run of `mlflow run`). A run that is
made by `MlflowClient.create_run` alone is not seen, and is linked by `attach`. If MLflow has changed so that this
does not work any more, one warning says so, and everything goes on unlinked.

This module is loaded while MLflow is: it needs the standard library alone, and nothing here raises.
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
    """Runs that start or end in this block are no business of the seam: whoever does it sees to them."""
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
        plan = autolink.planned(arguments, named)
        run = original(*arguments, **named)
        autolink.started(run, plan)
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
