"""Local versions whose bytes lie at another provider, such as a bucket: the store has their manifest alone.

The manifest proves the version at the other provider as well, since its id is derived from the content digest; so
these versions can be checked and fetched where that provider's own list of versions is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from mlflow_dsver.errors import CorruptObject
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.dataset_history import Record
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider

_last: tuple[tuple[str | None, str], Provider, DatasetVersion] | None = None


def is_remote(record: Record) -> bool:
    """Whether the bytes of a version lie at another provider."""
    return not record.kept and "://" in (record.source or "")


def stated_source(record: Record) -> tuple[Provider, DatasetVersion]:
    """The provider that has the bytes, and the version there as the record states it, unproven."""
    ref = parse(record.source or "")
    stated = DatasetVersion(ref=ref, content_digest=record.digest, usage_bytes=record.bytes)
    return get_provider(ref.provider), stated


def proven_source(record: Record, manifest: Callable[[], Manifest]) -> tuple[Provider, DatasetVersion]:
    """The provider that has the bytes, and the version there. Raises CorruptObject when that is another content.

    manifest: reads the version's manifest. The last one is kept proven, since many files are opened of one version.
    """
    global _last
    key = record.source, record.digest
    found = _last
    if found is None or found[0] != key:
        provider, stated = stated_source(record)
        proven = provider.from_manifest(stated, manifest())
        if proven is None:
            raise CorruptObject(
                "its manifest is not that of the version that it refers to",
                reference=stated.ref,
                expected=record.digest,
            )
        found = _last = key, provider, proven
    return found[1], found[2]
