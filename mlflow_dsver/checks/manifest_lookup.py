"""Finds the manifest of a version: at its provider, else on a run that used it. No file of the data is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import islice
from typing import IO

from mlflow_dsver.checks.manifest_stream import ManifestStream
from mlflow_dsver.errors import CorruptObject, DsverError, Unsupported
from mlflow_dsver.model.manifests import InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider

RUNS = 20
"""Runs that are looked through at most for a manifest that the provider does not have."""


@contextmanager
def manifest_file(version: DatasetVersion) -> Iterator[IO[bytes]]:
    """The compressed manifest of a version, open for reading.

    Raises Unsupported when nobody has one, CorruptObject when the provider's is damaged, and its other errors.
    """
    provider = get_provider(version.ref.provider)
    place = provider.at_hand(version)
    if place is not None and place.manifest is not None:
        try:
            stream = place.manifest.open("rb")
        except OSError as error:
            raise CorruptObject("its manifest cannot be read", reference=version, got=error.strerror) from error
        with stream:
            yield stream
        return
    manifest = provider.manifest(version)
    content = manifest.to_bytes() if manifest is not None else _from_runs(version)
    if content is None:
        raise Unsupported(
            "nobody has a list of its files",
            provider=provider.name,
            operation="list files",
            reference=version,
            expected="a provider that knows the files, or a run on which they were hashed",
            tip="link a run to it where its bytes are at hand",
        )
    yield BytesIO(content)


def manifest_of(version: DatasetVersion) -> Manifest:
    """The manifest of a version, read whole; errors as of `manifest_file`."""
    with manifest_file(version) as stream:
        try:
            manifest = read_manifest(stream)
        except InvalidManifest as error:
            raise CorruptObject(f"its manifest is damaged: {error}", reference=version) from error
    if version.content_digest not in (None, manifest.digest):
        raise CorruptObject(
            "its manifest is not the one it was made with",
            reference=version,
            expected=version.content_digest,
            got=manifest.digest,
        )
    return manifest


def _from_runs(version: DatasetVersion) -> bytes | None:
    from mlflow_dsver.record.schema import manifest_name
    from mlflow_dsver.tracking.history import runs_using
    from mlflow_dsver.tracking.queries import Tracking

    tracking = Tracking()
    for use in islice(runs_using(version), RUNS):
        with suppress(DsverError, InvalidManifest):
            content = tracking.record_files(tracking.run(use.run_id)).get(manifest_name(use.role))
            if content is None:
                continue
            lines = ManifestStream(BytesIO(content))
            if version.content_digest in (None, lines.content_digest):
                return content
    return None
