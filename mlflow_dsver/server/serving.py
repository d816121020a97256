"""Joins the pages to MLflow's server, with or without a login in front, on MLflow 2.22 (gunicorn) and 3 (uvicorn).

All that is known of MLflow's inner workings stands here: its Flask application, its static prefix, its other server
plug-ins, and the table of validators of its `basic-auth`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.errors import SettingsError

NAME = "dsver"
GROUP = "mlflow.app"
ROOT = "/dsver"
ACTIONS = "/ajax-api/2.0/dsver"
"""MLflow refuses requests from foreign pages below `/ajax-api`; what does more than read belongs there."""

Register = Callable[[Any], list[tuple[str, str]]]
"""Adds routes to a Flask application; gives (path, method) of each."""


def create(app: Any, register: Register) -> Any:
    """The application to serve, with the routes that `register` adds and the companion that settings name."""
    if app is None:
        from mlflow.server import app as flask_app

        app = flask_app
    routes = register(app)
    companion = _companion()
    served = companion() if companion is not None else _served(app)
    _allow_logged_in(routes)
    return served


def prefixed(path: str) -> str:
    """A path below the static prefix of this server."""
    from mlflow.server.handlers import _add_static_prefix

    return str(_add_static_prefix(path))


def _companion() -> Callable[[], Any] | None:
    """What makes the other server plug-in; None for none. Raises SettingsError when it is not installed."""
    name = settings.setting("AUTH_APP")
    if name is None and settings.text("MLFLOW_AUTH_CONFIG_PATH") is not None:
        name = "basic-auth"
    if name is None:
        return None
    found = {point.name: point for point in entry_points(group=GROUP) if point.name != NAME}
    if name not in found:
        raise SettingsError(f"{settings.PREFIX}AUTH_APP", expected="one of " + ", ".join(sorted(found)), got=name)
    made = found[name].load()
    return made if callable(made) and not hasattr(made, "wsgi_app") and not hasattr(made, "router") else lambda: made


def _served(app: Any) -> Any:
    """MLflow 3 serves its Flask application inside a FastAPI one, unless another server was asked for."""
    if settings.text("_MLFLOW_SGI_NAME") != "uvicorn":
        return app
    from mlflow.server.fastapi_app import create_fastapi_app

    return create_fastapi_app(app)


def _allow_logged_in(routes: list[tuple[str, str]]) -> None:
    """Let every visitor who is logged in reach our routes: they show each what that visitor may see.

    `basic-auth` of MLflow 3 can deny all routes that it does not know (MLFLOW_BASIC_AUTH_FAIL_CLOSED); its table of
    validators, by path and method, is where a route becomes known. Elsewhere there is nothing to do.
    """
    auth = sys.modules.get("mlflow.server.auth")
    validators = getattr(auth, "BEFORE_REQUEST_VALIDATORS", None)
    if isinstance(validators, dict):
        validators.update(dict.fromkeys(routes, lambda: True))
