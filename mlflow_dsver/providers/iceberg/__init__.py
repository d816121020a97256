"""Provider `iceberg`: tables of Iceberg catalogs, at a snapshot.

`catalogs` loads tables and maps pyiceberg's errors, `snapshot` lists the files of a snapshot, `holding` keeps
snapshots by tags.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.iceberg.provider import IcebergProvider

__all__ = ["IcebergProvider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
