"""Installed providers by name: each is imported when it is asked for. `plugins` says how one is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow_dsver import plugins
from mlflow_dsver.errors import SettingsError, UnknownProvider
from mlflow_dsver.model.refs import nearest
from mlflow_dsver.providers.interface import Provider

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = plugins.PROVIDERS


def names() -> list[str]:
    """Names of all installed providers, sorted; imports none of them."""
    return sorted(_entry_points())


def get_provider(name: str) -> Provider:
    """The provider of that name, with its settings from the environment.

    Raises UnknownProvider when none is installed, and SettingsError when its package cannot be imported.
    """
    found = _entry_points().get(name)
    if found is None:
        plugins.refresh()  # the package may have been installed since the entry points were last read
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


def _entry_points() -> Mapping[str, EntryPoint]:
    return plugins.providers()
