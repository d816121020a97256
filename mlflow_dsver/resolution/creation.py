"""Makes the versions that a run's inputs ask for: through the provider, once for all ranks of a job."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from mlflow_dsver.content.progress import SILENT, terminal
from mlflow_dsver.errors import InvalidArgument, InvalidReference
from mlflow_dsver.model.new_versions import NewVersion, yes_or_no
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import resolution_cache
from mlflow_dsver.resolution.ranks import once_per_job
from mlflow_dsver.text import one_line

WAIT_SECONDS = 3600.0
"""How long a rank waits at most while another one of its job makes a version."""

_COMMON = frozenset(inspect.signature(Provider.create).parameters)


def create(new: NewVersion) -> DatasetVersion:
    """Make the version now, with a progress bar where somebody looks, and drop cached answers of its dataset.

    Raises InvalidArgument for an option that the provider does not have, and what `Provider.create` raises.
    """
    provider = get_provider(new.dataset.provider)
    options = _options(provider, new)
    # A provider that works by itself shows its own progress while it waits.
    shown = terminal(f"reading {new.folder}") if new.folder is not None else nullcontext(SILENT)
    with shown as provider.progress:
        version = provider.create(
            new.dataset.dataset,
            None if new.folder is None else Path(new.folder),
            message=new.message,
            tags=new.tags,
            metadata=new.metadata,
            reference=new.reference,
            **options,
        )
    resolution_cache.invalidate(version.ref)
    return version


def create_once(new: NewVersion) -> DatasetVersion:
    """The same; of the ranks of a job on this host one makes the version, and all have it."""
    return once_per_job(str(new.dataset), lambda: create(new), f"create {new}", WAIT_SECONDS)


def options_of(provider: Provider) -> dict[str, type]:
    """What the provider's `create` takes beyond what all take: name to bool, int or str."""
    method = type(provider).create
    try:
        hints = get_type_hints(method)
    except NameError:  # imported for type checkers alone
        hints = {}
    return {
        name: next((kind for kind in get_args(hints.get(name)) if kind is not NoneType), hints.get(name, str))
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in _COMMON
    }


def _options(provider: Provider, new: NewVersion) -> Mapping[str, Any]:
    known = options_of(provider)
    unknown = sorted(new.options.keys() - known.keys())
    if unknown:
        raise InvalidArgument(
            f"{provider.name} has no option {one_line(unknown[0], 40)!r} for a new version",
            reference=new.dataset,
            expected="folder, message, tag, metadata, reference" + "".join(f", {name}" for name in sorted(known)),
        )
    return {name: _value(name, known[name], value) for name, value in new.options.items()}


def _value(name: str, kind: type, value: str | int | bool) -> str | int | bool:
    """An option's value as its type; text is read, as it comes from a variable or a command line."""
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    try:
        if isinstance(value, str):
            return yes_or_no(name, value) if kind is bool else int(value)
    except (ValueError, InvalidReference) as error:
        raise InvalidArgument(name, expected=_NAMED[kind], got=one_line(value, 40)) from error
    raise InvalidArgument(name, expected=_NAMED.get(kind, kind.__name__), got=one_line(value, 40))


_NAMED = {bool: "yes or no", int: "a number", str: "text"}
