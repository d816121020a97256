"""Extensions by other packages: found by entry points, imported only when needed.

A package that adds a provider registers it in the entry point group `mlflow_dsver.providers`: the name is the scheme
of its references, the object is called without arguments and returns a `Provider`. Under the same name it may
register a `ProviderInfo` in the group `mlflow_dsver.provider_info`: what is needed without importing the provider,
such as its settings, the spellings of references that it accepts, and its commands.

This module and the modules that hold a `ProviderInfo` import only the standard library and this package's base
modules, since parsing a reference imports them. The modules that are named in a `ProviderInfo` may import anything.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from mlflow_dsver.errors import SettingsError
from mlflow_dsver.settings import Setting
from mlflow_dsver.text import error_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

log = logging.getLogger(__name__)

PROVIDERS = "mlflow_dsver.providers"
PROVIDER_INFO = "mlflow_dsver.provider_info"
RUN_END = "mlflow_dsver.run_end"
"""Group of what is called with a run's id when the run ends."""

Spelling = Callable[[str], "tuple[str, str | None] | None"]
"""From a text to the dataset and the selector (None for none) that it names; None for a text of another kind.

Both may be percent-encoded, as in a reference.
"""


class RecordedVersion(NamedTuple):
    """A dataset that MLflow itself, or another tool, recorded on a run.

    reference: of one exact version where the record names it, else of the dataset without a selector. requested: the
    reference as it was recorded, such as with a branch. role: what it was used for; None where the record is silent.
    """

    reference: str
    requested: str
    role: str | None = None


class FolderReference(NamedTuple):
    """What a folder on this machine is at a provider. reference: of a version, or of a dataset.

    differs: what is not as that version has it, as text; None for nothing that was seen.
    """

    reference: str
    differs: str | None = None


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """What this package must know of a provider before the provider itself is imported.

    title: what people call the service.
    settings: what the provider reads from the environment and the settings file; `doctor` lists and checks them.
    spelling: for references in the service's own notation, such as the address of a page. It is asked about texts
        that are not of the ordinary form `scheme://dataset@selector`, and not about another provider's scheme.
    recorded_spelling: for texts that are no references, although earlier versions recorded them as such; they are
        read in records and lock files, and elsewhere the error suggests the reference that may be meant.
    slashes_in_selectors: whether a version, tag or branch may have slashes in its name, as branches of git have.
    commands: the provider's own commands below `mlflow-dsver`: name to `module:attribute` of a click command.
    emulator: `module:class` of the service's emulator, an `Emulator`; None for none.
    has_local_manifests: whether listing the provider's versions and reading their manifests needs no network, so
        that a file is looked up in all of them.
    folder_reference: `module:function` that tells from a folder or file (an absolute Path) which reference names it,
        as a `FolderReference`; None for none. It asks no service.
    recorded_sources: source types of MLflow's dataset inputs that the provider understands, each with the
        `module:function` that makes `RecordedVersion`s of the source's JSON object.
    recorded_tags: keys of a run's tags and params by which another tool recorded a version, each with the
        `module:function` that makes `RecordedVersion`s of all tags and params of the run.
    has_plain_addresses: whether a reference without a selector is also the address of data that may have no version,
        such as `s3://bucket/key`. MLflow's own dataset sources keep those.
    """

    title: str
    settings: tuple[Setting[Any], ...] = ()
    spelling: Spelling | None = None
    recorded_spelling: Spelling | None = None
    slashes_in_selectors: bool = False
    commands: Mapping[str, str] = field(default_factory=dict)
    emulator: str | None = None
    has_local_manifests: bool = False
    folder_reference: str | None = None
    recorded_sources: Mapping[str, str] = field(default_factory=dict)
    recorded_tags: Mapping[str, str] = field(default_factory=dict)
    has_plain_addresses: bool = False


def providers() -> Mapping[str, EntryPoint]:
    """The entry point of each installed provider, by the provider's name; imports none of them."""
    return _installed(tuple(sys.path))[PROVIDERS]


def provider_infos() -> Mapping[str, ProviderInfo]:
    """The `ProviderInfo` of each installed provider that has one, by the provider's name, sorted.

    One that cannot be imported is left out, and logged; `broken_infos` has the reason.
    """
    return _loaded(tuple(sys.path))[0]


def broken_infos() -> Mapping[str, str]:
    """Why the `ProviderInfo` of a provider cannot be used, by the provider's name."""
    return _loaded(tuple(sys.path))[1]


def run_end_hooks() -> Mapping[str, EntryPoint]:
    """The entry point of each callable that wants to know when a run ends; imports none of them."""
    return _installed(tuple(sys.path))[RUN_END]


def slashes_in_selectors(provider: str) -> bool:
    """Whether a selector of that provider may have slashes.

    That of a provider that is not installed may: records of it are read where it is not needed.
    """
    info = provider_infos().get(provider)
    return info.slashes_in_selectors if info else provider not in providers()


def load(target: str) -> Any:
    """The object that `module:attribute` names. Raises SettingsError when it cannot be imported."""
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"{target} cannot be imported: {error}", tip="reinstall the package that brings it"
        ) from error


def refresh() -> None:
    """Clear the cached entry points: the next call reads them again."""
    _installed.cache_clear()
    _loaded.cache_clear()


@lru_cache(maxsize=1)
def _installed(_path: tuple[str, ...]) -> dict[str, dict[str, EntryPoint]]:
    """Reads the metadata of every installed package, which takes 10 milliseconds and more: once for a search path."""
    from importlib.metadata import entry_points

    found, groups = entry_points(), (PROVIDERS, PROVIDER_INFO, RUN_END)
    return {group: {point.name: point for point in found.select(group=group)} for group in groups}


@lru_cache(maxsize=1)
def _loaded(path: tuple[str, ...]) -> tuple[dict[str, ProviderInfo], dict[str, str]]:
    infos: dict[str, ProviderInfo] = {}
    broken: dict[str, str] = {}
    for name, point in sorted(_installed(path)[PROVIDER_INFO].items()):
        try:
            found = point.load()
            if not isinstance(found, ProviderInfo):
                raise TypeError(f"{point.value} is no ProviderInfo")
            infos[name] = found
        except Exception as error:  # noqa: BLE001  (another package's code must not keep references from being read)
            broken[name] = f"{point.value}: {error_line(error)}"
            log.warning(
                "the provider %s is used without its settings, spellings and commands: %s", name, broken[name]
            )
    return infos, broken
