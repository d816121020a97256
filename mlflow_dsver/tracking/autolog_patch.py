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
import inspect
import logging
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import Any

FLUENT = "mlflow.tracking.fluent"
LAST = "_safe_end_run"
"""A name that MLflow's module gets after those that are wrapped."""
NEEDED = {"start_run": {"run_id", "nested", "tags"}, "end_run": {"status"}}
"""What is wrapped, and arguments without which it is not what is known here."""
MARK = "__mlflow_dsver__"

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
    """Wrap MLflow's functions, now or as soon as MLflow has loaded them; a second time changes nothing."""
    try:
        module = sys.modules.get(FLUENT)
        if module is not None and hasattr(module, LAST):
            _wrap(module)
            return
        from mlflow.utils.import_hooks import register_post_import_hook

        register_post_import_hook(_wrap, FLUENT)
    except Exception as error:  # noqa: BLE001  (an `import mlflow` must not fail for it)
        _changed(f"{type(error).__name__}: {error}")


def watch_ends() -> None:
    """Wrap MLflow's `end_run` alone, if MLflow is loaded; a second time changes nothing."""
    module = sys.modules.get(FLUENT)
    if module is not None and hasattr(module, LAST):
        _wrap(module, ("end_run",))


def _wrap(module: ModuleType, names: Collection[str] = tuple(NEEDED)) -> None:
    try:
        for name, needed in NEEDED.items():
            missing = needed - set(inspect.signature(getattr(module, name)).parameters)
            if missing:
                _changed(f"{FLUENT}.{name} takes no {', '.join(sorted(missing))}")
                return
        for name, wrapper in {"start_run": _starting, "end_run": _ending}.items():
            if name not in names:
                continue
            original = getattr(module, name)
            if hasattr(original, MARK):
                continue
            wrapped = wrapper(original)
            setattr(wrapped, MARK, True)
            setattr(module, name, wrapped)
            if getattr(sys.modules.get("mlflow"), name, None) is original:
                setattr(sys.modules["mlflow"], name, wrapped)
    except Exception as error:  # noqa: BLE001  (as above)
        _changed(f"{type(error).__name__}: {error}")


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


def _changed(what: str) -> None:
    _logger.warning(
        "MLflow has changed (%s): runs are not linked without a line; dsver.start_run and dsver.use work as ever",
        what,
    )
