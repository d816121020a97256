"""Local versions whose bytes lie at another provider, such as a bucket: the store has their manifest alone.

Where a version's id is derived from its content digest, as for buckets, the manifest proves the version at the other
provider as well, so it can be checked and fetched where that provider's own list of versions is lost. Other providers
are asked for the version, whose manifest must be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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


def _asked(provider: Provider, stated: DatasetVersion) -> DatasetVersion | None:
    found = provider.get(stated.ref.dataset, stated.id)
    manifest = provider.manifest(found)
    if manifest is None or manifest.digest != stated.content_digest:
        return None
    return replace(found, content_digest=manifest.digest)


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
        proven = provider.from_manifest(stated, manifest()) or _asked(provider, stated)
        if proven is None:
            raise CorruptObject(
                "its manifest is not that of the version that it refers to",
                reference=stated.ref,
                expected=record.digest,
            )
        found = _last = key, provider, proven
    return found[1], found[2]
