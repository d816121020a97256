"""What is known of the provider `dvc` without importing it: references, their spellings, hooks and commands."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.providers.git.places import spelled


def spelling(text: str) -> tuple[str, str | None] | None:
    """The reference that a folder or an address of a repository behind `dvc://` means; None for other texts."""
    scheme, separator, body = text.partition("://")
    return spelled(body) if separator and scheme.lower() == "dvc" else None


INFO = ProviderInfo(
    title="DVC",
    spelling=spelling,
    slashes_in_selectors=True,
    folder_reference="mlflow_dsver.providers.dvc.folders:folder_reference",
    commands={"import": "mlflow_dsver.providers.dvc.cli:import_"},
)
