"""The embedded provider: versions in a folder of this machine, without account or network.

`store` has the layout and the locks, `log` the operations on a dataset and its manifests, `remote_sources` versions
whose bytes lie at another provider, `objects` how bytes are stored and read, `verified_stats` which objects need not
be read again, `shared_views` and `views` how files are checked out, `maintenance` integrity checks and garbage
collection, `provider` the implementation of the interface. Linux and macOS only, because the locks use `flock`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.local.provider import LocalProvider
    from mlflow_dsver.providers.local.store import Store

__all__ = ["LocalProvider", "Store"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    homes = {"LocalProvider": "provider", "Store": "store"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
