"""Clarifai's datasets and dataset versions, by its API v2.

`info` has settings, keys and addresses, `models` the vendor's JSON and numbers, `client` its
endpoints, `polling` listings and waiting, `convert` its versions as ours, `writing` what creates and changes a
version, `exports` a version's records as files, and `provider` the implementation of the interface. Written from
published documents; not compared with the live service.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.clarifai.exports import inputs
    from mlflow_dsver.providers.clarifai.info import Account, account
    from mlflow_dsver.providers.clarifai.provider import ClarifaiProvider

__all__ = ["Account", "ClarifaiProvider", "account", "inputs"]


def __getattr__(name: str) -> Any:
    """Imported when used: `info` is read without the provider."""
    homes = {"Account": "info", "ClarifaiProvider": "provider", "account": "info", "inputs": "exports"}
    if name not in homes:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{homes[name]}"), name)
