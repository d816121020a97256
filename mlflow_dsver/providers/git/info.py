"""What is known of the provider `git` without importing it: references, their spellings and hooks."""

from __future__ import annotations

from mlflow_dsver.plugins import ProviderInfo
from mlflow_dsver.providers.git.places import spelled


def spelling(text: str) -> tuple[str, str | None] | None:
    """The reference that a folder or an address of a repository behind `git://` means; None for other texts."""
    scheme, separator, body = text.partition("://")
    return spelled(body) if separator and scheme.lower() == "git" else None


INFO = ProviderInfo(
    title="git and git-LFS",
    spelling=spelling,
    slashes_in_selectors=True,
    folder_reference="mlflow_dsver.providers.git.folders:folder_reference",
)
