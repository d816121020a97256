"""`mlflow-dsver providers` and `doctor`: installed providers, settings, and connections."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, entry_points, version
from typing import Any

import click

from mlflow_dsver import plugins, settings
from mlflow_dsver._version import __version__
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.json_values import to_json
from mlflow_dsver.providers.registry import GROUP, get_provider, names
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option
from mlflow_dsver.text import error_line, one_line

SOURCE_GROUP, SOURCE_NAME = "mlflow.dataset_source", "dataset_version"
NOT_SET = "not set"
REACH_SECONDS = 10.0
"""Maximum seconds that `doctor` waits for the tracking server."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its subject, whether it passed (None: informational only), and the result."""

    check: str
    ok: bool | None
    detail: str


@click.command()
@json_option
def providers(as_json: bool) -> None:
    """List the installed providers, and what each can do.

    \b
    Examples:
      mlflow-dsver providers
      mlflow-dsver providers --json
    """
    found = [_described(name) for name in names()]
    rows = (
        (f"{each['name']}://", each["capabilities"] or each["error"] or "resolve and list", each["object"])
        for each in found
    )
    emit(as_json, {"providers": found}, render.table("PROVIDER CAN FROM", rows, empty="no providers"))


@click.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check the installation, the settings and the connections.

    It shows what is installed and set, and whether the store, MLflow and each provider can be reached. Keys are never
    shown. A provider without any settings is reported as not set up, which is no problem. Exit code 1: there is a
    problem.

    \b
    Examples:
      mlflow-dsver doctor
      mlflow-dsver doctor --json
    """
    checks = [*_installed(), *_settings(), _checked("local store", _store), *_providers(), _tracking()]
    ok = all(each.ok is not False for each in checks)
    marks = {True: "ok", False: "PROBLEM", None: ""}
    rows = ((each.check, marks[each.ok] or " ", each.detail) for each in checks)
    data = {"ok": ok, "checks": [to_json(each) for each in checks]}
    emit(as_json, data, render.table("CHECK STATE SEEN", rows, empty=""))
    return 0 if ok else 1


COMMANDS = (providers, doctor)


def _described(name: str) -> dict[str, object]:
    """A provider's name, capabilities, entry point, and the reason if it cannot be used."""
    point = next(iter(entry_points(group=GROUP, name=name)))
    described: dict[str, object] = {"name": name, "object": point.value, "capabilities": [], "error": None}
    try:
        described["capabilities"] = sorted(get_provider(name).capabilities)
    except DsverError as error:
        described["error"] = str(error)
    return described


def _installed() -> Iterator[Check]:
    yield Check("Python", None, f"{platform.python_version()} at {sys.executable}")
    yield Check("mlflow-dsver", None, __version__)
    found = {name: _version(name) for name in ("mlflow", "mlflow-skinny")}
    shown = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    yield Check("MLflow", bool(shown), shown or "not installed")
    registered = entry_points(group=SOURCE_GROUP, name=SOURCE_NAME)
    what = "registered" if registered else f"the entry point {SOURCE_NAME} is missing: install mlflow-dsver again"
    yield Check("MLflow plug-in", bool(registered), what)


def _settings() -> Iterator[Check]:
    yield Check("settings file", None, str(settings.config_path() or "none: this user has no home folder"))
    for name, meaning in settings.KNOWN.items():
        yield _checked(settings.PREFIX + name, partial(_setting, name, meaning))
    for info in plugins.provider_infos().values():
        for each in info.settings:
            yield _checked(each.variable, partial(_provider_setting, each))
    for provider, problem in plugins.broken_infos().items():
        yield Check(f"settings of {provider}", False, problem)


def _store() -> tuple[bool, str]:
    """Whether versions can be created: the store's folder, or its nearest existing parent, is writable."""
    root = settings.home()
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    if os.access(there, os.W_OK | os.X_OK) and there.is_dir():
        return True, f"{root} can be written"
    return False, f"{root} cannot be written, so no version can be made. Try: another {settings.PREFIX}HOME"


def _providers() -> Iterator[Check]:
    for name in names():
        yield _checked(f"{name}://", partial(_health, name))


def _health(name: str) -> tuple[bool | None, str]:
    """A provider's health; one that cannot be used and has no setting at all is reported as not set up.

    Settings that have lines of their own are left out.
    """
    health = get_provider(name).health()
    own_lines = {settings.PREFIX + each for each in settings.KNOWN} | {
        each.variable for info in plugins.provider_infos().values() for each in info.settings
    }
    others = {key: where for key, where in health.settings.items() if key not in own_lines}
    known = "; ".join(f"{variable}: {where}" for variable, where in others.items())
    seen = f"{health.summary} ({known})" if known else health.summary
    if not health.ok and set(health.settings.values()) == {NOT_SET}:
        return None, f"not set up: {seen}"
    return health.ok, seen


def _tracking() -> Check:
    def look() -> tuple[bool, str]:
        from mlflow_dsver.tracking.clients import health

        found = health(settings.seconds("TRACKING_TIMEOUT", REACH_SECONDS))
        return found.ok, found.summary

    return _checked("MLflow tracking", look)


def _checked(name: str, look: Callable[[], tuple[bool | None, str]]) -> Check:
    """The check with the result of `look`; its exception is a problem reported in one line."""
    try:
        ok, seen = look()
    except DsverError as error:
        ok, seen = False, str(error)
    except Exception as error:  # noqa: BLE001  (a provider of others may raise anything; the rest is still looked at)
        ok, seen = False, error_line(error)
    return Check(name, ok, seen)


def _provider_setting(each: settings.Setting[Any]) -> tuple[None, str]:
    """As `_setting`. Raises SettingsError for a value that the provider would refuse."""
    each.get()
    return _setting(each.name, each.meaning)


def _setting(name: str, meaning: str) -> tuple[None, str]:
    value = settings.setting(name)
    if value is None:
        return None, f"not set ({meaning})"
    return None, f"{one_line(value)} (from {settings.origin(name)})"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
