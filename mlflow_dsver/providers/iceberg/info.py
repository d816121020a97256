"""What is known of the provider `iceberg` without importing it."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo

NAME = "iceberg"

INFO = ProviderInfo(title="Apache Iceberg", slashes_in_selectors=True)
