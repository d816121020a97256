"""Joins the pages to MLflow's server, with or without a login in front, on MLflow 2.22 (gunicorn) and 3 (uvicorn).

What the server has to serve is the application of another server plug-in, where one is named, else MLflow's own; the
pages are routes of MLflow's Flask application inside it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.tracking.mlflow_private import server as private

NAME = "dsver"
GROUP = "mlflow.app"
ROOT = "/dsver"
ACTIONS = f"{private.ACTIONS_PREFIX}/dsver"
"""MLflow refuses requests from foreign pages here; what does more than read belongs below it."""

Register = Callable[[Any], list[tuple[str, str]]]
"""Adds routes to a Flask application; gives (path, method) of each."""


def create(app: Any, register: Register) -> Any:
    """The application to serve, with the routes that `register` adds and the companion that settings name."""
    app = private.flask_app() if app is None else app
    routes = register(app)
    companion = _companion()
    served = companion() if companion is not None else private.served_app(app)
    private.allow_logged_in(routes)
    return served


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
