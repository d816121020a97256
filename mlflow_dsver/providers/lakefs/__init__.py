"""Provider `lakefs`: repositories of a lakeFS server, or folders and files in them, whose versions are commits.

`info` has references and the emulator's address, `account` the server and key of lakeFS' own tools, `server` the
requests, `listing` the objects of a commit, `reading` their bytes and what the server says of them now, and
`recorded` what runs recorded that followed lakeFS' recipe for MLflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.lakefs.provider import LakefsProvider

__all__ = ["LakefsProvider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
