"""What is known of the provider `dvc` without importing it: references, their spellings, hooks and commands."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.providers.git.places import spelling_of

INFO = ProviderInfo(
    title="DVC",
    spelling=spelling_of("dvc"),
    slashes_in_selectors=True,
    folder_reference="mlflow_dsver.providers.dvc.folders:folder_reference",
    commands={"import": "mlflow_dsver.providers.dvc.cli:import_"},
)
