"""What is known of the provider `mlflow` without importing it."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo

INFO = ProviderInfo(title="MLflow's evaluation datasets", has_local_manifests=True)
