"""MLflow's side: run start, asynchronous logging, the outbox and its sync, queries, the dataset source.

MLflow is imported here, before any module of this folder: while `import mlflow` runs, MLflow loads our entry point
(`tracking.source`) by name, and would find that module half imported if importing that module were what started it.
"""

import mlflow  # noqa: F401
