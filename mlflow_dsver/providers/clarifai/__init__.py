"""Clarifai's datasets and dataset versions, by its API v2.

`codes` and `models` are the vendor's numbers and JSON, `client` its endpoints, `paging` its listings, `accounts` the
settings, `convert` the way from its answers to ours, `creation` and `overwriting` what makes and changes a version,
`waiting` the polling of slow operations, `exports` a version's records as files, `records` what is in them, and
`provider` the implementation of the interface. Written from published documents; not compared with the live service.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.clarifai.accounts import Account, account
    from mlflow_dsver.providers.clarifai.provider import ClarifaiProvider
    from mlflow_dsver.providers.clarifai.records import inputs

__all__ = ["Account", "ClarifaiProvider", "account", "inputs"]


def __getattr__(name: str) -> Any:
    """Imported when used: `info` is read without the provider."""
    homes = {"Account": "accounts", "ClarifaiProvider": "provider", "account": "accounts", "inputs": "records"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
