"""Provider `delta`: Delta tables on a disk or in object storage, whose versions are those of the table.

A version's id is its number and the beginning of the table's id, so that a table made anew at the same place is not
taken for the old one. `places` reads files where a table is, `log` the table's log, `snapshot` loads a version with
deltalake and makes its manifest, `check` compares it with what is there now, `tables` loads it as a table, `failures`
has deltalake's errors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.delta.provider import DeltaProvider

__all__ = ["DeltaProvider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
