"""The lineage pages as a part of an MLflow server: `mlflow server --app-name dsver`.

The pages call MLflow's own REST interface inside the process with the user's request headers, so they show nothing
that MLflow would hide, and nothing without a login where there is one. Pages are read with GET and change nothing;
the one action, a check, is a POST below MLflow's protected prefix `/ajax-api`.
"""

from __future__ import annotations

from typing import Any


def create_app(app: Any = None) -> Any:
    """Entry point for `mlflow server`: MLflow's application with the lineage pages added.

    Another server plug-in, such as MLflow's `basic-auth`, comes with it when the setting `AUTH_APP` names one, and
    `basic-auth` also when its own variable MLFLOW_AUTH_CONFIG_PATH is set: a login that was asked for is never left
    out. app: MLflow's Flask application; None for the one of this process.
    """
    from mlflow_dsver.server.routes import create

    return create(app)
