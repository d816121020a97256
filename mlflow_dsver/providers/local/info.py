"""What is known of the local provider without importing it."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo

INFO = ProviderInfo(title="the local store", has_local_manifests=True)
