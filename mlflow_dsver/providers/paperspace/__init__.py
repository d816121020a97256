"""Paperspace's dataset versions: `provider` implements the interface, `client` the vendor's endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.paperspace.provider import PaperspaceProvider

__all__ = ["PaperspaceProvider"]


def __getattr__(name: str) -> Any:
    """Imported when used: `info` is read without the provider."""
    if name == "PaperspaceProvider":
        from mlflow_dsver.providers.paperspace.provider import PaperspaceProvider

        return PaperspaceProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
