"""Provider `dvc`: what DVC tracks in a git repository, at a commit; DVC itself is not needed.

`outs` reads `.dvc` files and `dvc.lock` of a commit, `storage` finds the files in DVC's cache, its remotes and the
working tree, `importing` makes versions of the local store from a history.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.dvc.provider import DvcProvider

__all__ = ["DvcProvider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
