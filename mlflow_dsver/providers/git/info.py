"""What is known of the provider `git` without importing it: references, their spellings and hooks."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.providers.git.places import spelling_of

INFO = ProviderInfo(
    title="git and git-LFS",
    spelling=spelling_of("git"),
    slashes_in_selectors=True,
    folder_reference="mlflow_dsver.providers.git.folders:folder_reference",
)
