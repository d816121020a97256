"""The lineage pages as a part of an MLflow server: `mlflow server --app-name dsver`.

The pages ask MLflow's own REST interface, inside the process and with the visitor's own request headers, and so
show nobody what MLflow would hide; with a login in front, nobody without it gets anything. They are read with GET
and change nothing; the one action, a check, is a POST below MLflow's protected prefix `/ajax-api`.
"""

from __future__ import annotations

from typing import Any


def create_app(app: Any = None) -> Any:
    """What `mlflow server` calls: MLflow as ever, with the lineage pages added.

    Another server plug-in, such as MLflow's `basic-auth`, comes with it when the setting `AUTH_APP` names one, and
    `basic-auth` also when its own variable MLFLOW_AUTH_CONFIG_PATH is set: a login that was asked for is never left
    out. app: MLflow's Flask application; None for the one of this process.
    """
    from mlflow_dsver.server.routes import register
    from mlflow_dsver.server.serving import create

    return create(app, register)
