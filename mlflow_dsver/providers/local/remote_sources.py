"""Local versions whose bytes lie at another provider, such as a bucket: the store has their manifest alone.

The manifest proves the version at the other provider as well, since its id is derived from the content digest; so
these versions can be checked and fetched where that provider's own list of versions is lost.
"""

from __future__ import annotations

from mlflow_dsver.errors import CorruptObject
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.dataset_history import Record
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider


def is_remote(record: Record) -> bool:
    """Whether the bytes of a version lie at another provider."""
    return not record.kept and "://" in (record.source or "")


def remote_source(record: Record, manifest: Manifest) -> tuple[Provider, DatasetVersion]:
    """The provider that has the bytes, and the version there. Raises CorruptObject when that is another content."""
    ref = parse(record.source or "")
    provider = get_provider(ref.provider)
    stated = DatasetVersion(ref=ref, content_digest=record.digest, usage_bytes=record.bytes)
    proven = provider.from_manifest(stated, manifest)
    if proven is None:
        raise CorruptObject(
            "its manifest is not that of the version that it refers to", reference=ref, expected=record.digest
        )
    return provider, proven
