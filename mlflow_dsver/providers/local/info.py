"""The description of the local provider, available without importing the provider."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo

INFO = ProviderInfo(title="the local store", has_local_manifests=True)
