"""Finds providers by entry point, imports them when they are asked for, and says how to get one that is missing.

A third party adds a provider with an entry point in the group `mlflow_dsver.providers`: its name is the scheme of
the references, its object is called without arguments and gives a `Provider`.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from mlflow_dsver.errors import SettingsError, UnknownProvider
from mlflow_dsver.model.refs import nearest
from mlflow_dsver.providers.interface import Provider

GROUP = "mlflow_dsver.providers"


def names() -> list[str]:
    """Names of all installed providers, sorted; imports none of them."""
    return sorted(_entry_points())


def get_provider(name: str) -> Provider:
    """The provider of that name, with its settings from the environment.

    Raises UnknownProvider when none is installed, and SettingsError when its package cannot be imported.
    """
    found = _entry_points().get(name)
    if found is None and _installed.cache_info().currsize:
        _installed.cache_clear()  # it may have been installed since then
        found = _entry_points().get(name)
    if found is None:
        known = names()
        near = nearest(name, known)
        tip = f"{near[0]}://…" if near else "pip install the package that brings this provider"
        raise UnknownProvider(f"no provider is called {name!r}", expected="one of " + ", ".join(known), tip=tip)
    try:
        made = found.load()()
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the provider {name!r} ({found.value}) cannot be imported: {error}",
            tip="reinstall the package that brings it",
        ) from error
    if not isinstance(made, Provider):
        raise SettingsError(f"{found.value} is not a provider", expected="a Provider", got=type(made).__name__)
    return made


def _entry_points() -> dict[str, EntryPoint]:
    return _installed(tuple(sys.path))


@lru_cache(maxsize=1)
def _installed(_path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Reads the metadata of every installed package, which takes 10 milliseconds and more: once for a search path."""
    return {point.name: point for point in entry_points(group=GROUP)}
