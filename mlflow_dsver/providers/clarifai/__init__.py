"""Clarifai's datasets and dataset versions, by its API v2.

`codes` and `models` are the vendor's numbers and JSON, `client` its addresses, `paging` its listings, `accounts` the
settings, `words` the way from its answers to ours, `creation` and `overwriting` what makes and changes a version,
`waiting` what takes its time, `exports` a version's records as files, `records` what is in them, and `provider` the
whole in the words of the interface. Written from published documents; the live service was never asked.
"""

from __future__ import annotations

from mlflow_dsver.providers.clarifai.accounts import Account, account
from mlflow_dsver.providers.clarifai.provider import ClarifaiProvider
from mlflow_dsver.providers.clarifai.records import inputs

__all__ = ["Account", "ClarifaiProvider", "account", "inputs"]
