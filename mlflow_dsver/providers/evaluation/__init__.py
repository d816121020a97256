"""Provider `mlflow`: snapshots of the evaluation datasets of MLflow; `tracking.evaluation_records` reads these."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_dsver.providers.evaluation.provider import EvaluationDatasetProvider

__all__ = ["EvaluationDatasetProvider"]


def __getattr__(name: str) -> Any:
    """Lazy import: `info` is read without the provider."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.provider"), name)
