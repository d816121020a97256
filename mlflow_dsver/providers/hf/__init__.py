"""Provider `hf`: datasets, models and spaces of the Hugging Face Hub, whose versions are commits.

`info` has references and the emulator's address, `account` the endpoint, token and cache of the Hub's own tools,
`hub` the requests, `listing` the files of a commit, `reading` their bytes (from the Hub's cache, `cache`, or by
HTTP), `check` what the Hub says of them now, `recorded` what MLflow recorded, and `folders` which commit a folder is.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.hf.provider import HfProvider

__all__ = ["HfProvider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
