"""Short HTTP timeouts for the MLflow calls of one block, and for no others.

MLflow reads how often and how long it tries from two environment variables, once for each request. Setting those
would change every thread and every child process, so they are left alone: the two objects through which MLflow reads
them are asked to look at a context variable first. It is set in the block's own context only, which new threads do
not inherit. MLflow has no public way to bound one call; where it reads the variables in another way one day, its own
patience applies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

_bounds: ContextVar[dict[str, int] | None] = ContextVar("mlflow_dsver_http_bounds", default=None)
_PATCHED = "mlflow_dsver_get"


@contextmanager
def short_http_timeouts(seconds: float, retries: int = 1) -> Iterator[None]:
    """In this block MLflow waits so many seconds for an answer, at least one, and tries again so often."""
    for variable in (MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT):
        _look_at_context(variable)
    token = _bounds.set(
        {
            MLFLOW_HTTP_REQUEST_MAX_RETRIES.name: retries,
            MLFLOW_HTTP_REQUEST_TIMEOUT.name: max(1, int(seconds)),
        }
    )
    try:
        yield
    finally:
        _bounds.reset(token)


def _look_at_context(variable: Any) -> None:
    """Make MLflow's variable read the context first; a second time changes nothing."""
    if getattr(vars(variable).get("get"), "__name__", None) == _PATCHED:
        return
    read: Any = type(variable).get

    def mlflow_dsver_get() -> Any:
        bounds = _bounds.get()
        return read(variable) if bounds is None else bounds[variable.name]

    variable.get = mlflow_dsver_get
