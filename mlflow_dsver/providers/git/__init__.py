"""Provider `git`: folders and files of git repositories, git-LFS included, at a commit.

`places` says which repository and path a reference names, `repository` reads commits, trees and blobs through the
`git` command, `mirror` keeps repositories of other machines in the cache, `lfs` finds what pointer files stand for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.git.provider import GitProvider

__all__ = ["GitProvider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
