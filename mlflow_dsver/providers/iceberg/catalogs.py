"""Loads tables by pyiceberg's own configuration (`.pyiceberg.yaml`, `PYICEBERG_CATALOG__…`), and maps its errors.

Each call to a catalog ends within the provider's time limit: pyiceberg sets none for REST catalogs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

from mlflow_dsver import settings
from mlflow_dsver.deadlines import DeadlineExceeded, bounded, within
from mlflow_dsver.errors import (
    AuthenticationFailed,
    DsverError,
    InvalidReference,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    SettingsError,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.iceberg.info import NAME
from mlflow_dsver.text import error_line

T = TypeVar("T")
_MISSING = {"NoSuchTableError", "NoSuchNamespaceError", "NoSuchIcebergTableError", "NoSuchIdentifierError"}
_LOGIN = {"UnauthorizedError", "AuthorizationExpiredError", "OAuthError", "SignError"}


def load_table(ref: DatasetRef) -> Any:
    """pyiceberg's Table of a dataset, `catalog/namespace.table`, as it is now."""
    catalog, _, name = ref.dataset.partition("/")
    if "." not in name.strip(".") or "/" in name:
        raise InvalidReference("names no table", got=ref, expected="iceberg://catalog/namespace.table")
    library()
    return call(
        ref, "load the table", lambda: import_module("pyiceberg.catalog").load_catalog(catalog).load_table(name)
    )


def call(ref: DatasetRef, operation: str, work: Callable[[], T]) -> T:
    """What a call of pyiceberg returns, within the time limit. Raises this package's errors."""
    with iceberg_errors(ref, operation):
        return within(bounded(settings.provider_timeout()), work)


@contextmanager
def iceberg_errors(ref: DatasetRef, operation: str) -> Iterator[None]:
    """Raise what pyiceberg raises in the block as errors of this package."""
    try:
        yield
    except (DsverError, MemoryError):
        raise
    except DeadlineExceeded as error:
        seconds = settings.provider_timeout()
        raise ProviderUnavailable(
            f"the catalog did not answer within {seconds:g} seconds",
            provider=NAME,
            operation=operation,
            reference=ref,
        ) from error
    except Exception as error:
        raise _meaning(error, ref, operation) from error


def library() -> Any:
    """The package pyiceberg. Raises SettingsError when it is not installed."""
    try:
        return import_module("pyiceberg")
    except ImportError as error:
        raise SettingsError(
            "reading Iceberg tables needs pyiceberg, which is not installed",
            tip="pip install 'mlflow-dsver[iceberg]'",
        ) from error


def _meaning(error: Exception, ref: DatasetRef, operation: str) -> DsverError:
    kind, said = type(error).__name__, error_line(error, 300)
    parts: dict[str, Any] = {"provider": NAME, "operation": operation, "reference": ref, "got": said}
    if kind in _MISSING:
        return NotFound("there is no such table", **parts)
    if isinstance(error, FileNotFoundError):
        return NotFound("a file of the table is gone", **parts)
    if kind in _LOGIN:
        return AuthenticationFailed("the catalog does not accept the login", **parts)
    if kind == "ForbiddenError" or isinstance(error, PermissionError):
        return PermissionDenied("the table may not be read or changed with this login", **parts)
    if kind == "TooManyRequestsError":
        return RateLimited("the catalog asks for fewer requests", **parts)
    if kind == "NotInstalledError" or isinstance(error, ImportError):
        return SettingsError(f"this catalog needs a package that is not installed: {said}", reference=ref)
    if isinstance(error, ValueError) and ("URI missing" in str(error) or "catalog" in str(error).lower()):
        return SettingsError(
            f"the catalog {ref.dataset.partition('/')[0]!r} is not configured: {said}",
            reference=ref,
            tip="a catalog of that name in .pyiceberg.yaml, or PYICEBERG_CATALOG__NAME__URI",
        )
    return ProviderUnavailable("the table could not be read", **parts)
