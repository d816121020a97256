"""Creates new versions through their provider, for the inputs of a run once for all ranks of a job."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from mlflow_dsver import plugins
from mlflow_dsver.content.progress import SILENT, terminal
from mlflow_dsver.errors import InvalidArgument, InvalidReference
from mlflow_dsver.model.new_versions import NewVersion, yes_or_no
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import resolution_cache
from mlflow_dsver.resolution.ranks import once_per_job
from mlflow_dsver.text import one_line

WAIT_SECONDS = 3600.0
"""Maximum seconds that a rank waits for another rank of its job to create a version."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+-]*://")
_COMMON = frozenset(inspect.signature(Provider.create).parameters)


def create(new: NewVersion) -> DatasetVersion:
    """Create the version, with a progress bar on a terminal, and drop the dataset's cached resolutions.

    Raises InvalidArgument for an option that the provider does not have, and what `Provider.create` raises.
    """
    provider = get_provider(new.dataset.provider)
    source = _source(new)
    if source is not None:
        return _create_from(provider, new, *source)
    options = _options(provider, new)
    # Without a folder, the provider shows its own progress while it waits for its service.
    progress_bar = terminal(f"reading {new.folder}") if new.folder is not None else nullcontext(SILENT)
    with progress_bar as provider.progress:
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


def _source(new: NewVersion) -> tuple[Provider, DatasetVersion] | None:
    """The version of another provider that the files are taken from; None where the folder is a folder.

    An address without a selector, such as `s3://bucket/cats`, means what is there now: a version of it is made first.
    """
    if new.folder is None or not _ADDRESS.match(new.folder):
        return None
    ref = parse(new.folder)
    source = get_provider(ref.provider)
    info = plugins.provider_infos().get(ref.provider)
    with terminal(f"listing {new.folder}") as source.progress:
        if ref.selector is None and info is not None and info.has_plain_addresses:
            return source, source.create(ref.dataset)
        return source, source.resolve(ref)


def _create_from(provider: Provider, new: NewVersion, source: Provider, version: DatasetVersion) -> DatasetVersion:
    if new.options:
        _options(provider, new)
        raise InvalidArgument("options are for files of a folder", reference=new.dataset, got=", ".join(new.options))
    with terminal(f"copying {version}") as provider.progress:
        made = provider.create_from(
            new.dataset.dataset,
            source,
            version,
            message=new.message,
            tags=new.tags,
            metadata=new.metadata,
            reference=new.reference,
        )
    resolution_cache.invalidate(made.ref)
    return made


def create_once(new: NewVersion) -> DatasetVersion:
    """As `create`, but of all ranks of a job on this host only one creates the version, and all return it."""
    return once_per_job(str(new.dataset), lambda: create(new), f"create {new}", WAIT_SECONDS)


def options_of(provider: Provider) -> dict[str, type]:
    """The further options of a provider's `create`, besides those of the interface: name to bool, int or str."""
    method = type(provider).create
    try:
        hints = get_type_hints(method)
    except NameError:  # names imported only for type checking
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
    """The option's value, converted to its type; text from variables and command lines is parsed."""
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    try:
        if isinstance(value, str):
            return yes_or_no(name, value) if kind is bool else int(value)
    except (ValueError, InvalidReference) as error:
        raise InvalidArgument(name, expected=_TYPE_NAMES[kind], got=one_line(value, 40)) from error
    raise InvalidArgument(name, expected=_TYPE_NAMES.get(kind, kind.__name__), got=one_line(value, 40))


_TYPE_NAMES = {bool: "yes or no", int: "a number", str: "text"}
