"""Paperspace dataset versions: `provider` in our words, `client` the vendor's endpoints, `models` its JSON."""

from mlflow_dsver.providers.paperspace.provider import PaperspaceProvider

__all__ = ["PaperspaceProvider"]
