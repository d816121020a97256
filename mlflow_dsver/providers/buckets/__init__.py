"""Providers `s3`, `gs` and `az`: prefixes in object storage, whose versions are snapshots.

A snapshot says which objects were there at one moment, with version ids, checksums and ETags as the store keeps them;
its id comes from the digest of that manifest. `connect` has connections and errors, `listing` the objects that are
there (`s3_listing`, `gs_listing`, `inventory`; `s3_requests` for what obstore has no call for), `snapshots` makes a
manifest of them, `catalog` keeps it, `check` compares it with what the store has now, `reading` reads objects.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.buckets.provider import AzProvider, GsProvider, S3Provider

__all__ = ["AzProvider", "GsProvider", "S3Provider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the providers."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
