"""MLflow's side: the only part of the package that imports mlflow.

MLflow is imported here, before any module of this folder: while it starts it loads our entry point
(`tracking.source`) by name, and would find that module half made if importing that module were what started MLflow.
"""

import mlflow  # noqa: F401
