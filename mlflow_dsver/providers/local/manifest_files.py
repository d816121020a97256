"""The manifests in the store: written once for a content, checked when they are read, and the patterns in them.

A manifest is shared by all versions with its content, and its header has the patterns of the one that came first. The
content digest does not cover the header; the sum of the whole file, which each version's record has, does.
"""

from __future__ import annotations

from pathlib import Path

from mlflow_dsver.content.atomic_files import atomic_write, sync_folder
from mlflow_dsver.content.patterns import EVERYTHING, Rules
from mlflow_dsver.errors import CorruptObject
from mlflow_dsver.model.manifests import InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.providers.local.log import Record
from mlflow_dsver.providers.local.store import Store, meanings


def keep_manifest(store: Store, manifest: Manifest, known: str | None) -> str:
    """Write the manifest, unless it is there and right; the sum of its file. known: the sum that it should have."""
    path = store.manifest(manifest.digest)
    with meanings("the manifest cannot be kept"):
        try:
            if known is not None and path.is_file() and file_sum(path) == known:
                return known
            manifest_of(store, manifest.digest, "")
            sync_folder(path.parent)  # another process may have put it there just now
            return file_sum(path)
        except CorruptObject:
            with atomic_write(path, mode=0o444) as stream:
                manifest.write(stream)
            return file_sum(path)


def file_sum(path: Path) -> str:
    """A short BLAKE3 of a file's bytes."""
    from blake3 import blake3

    digest: str = blake3(path.read_bytes()).hexdigest()
    return digest[:32]


def manifest_of(store: Store, digest: str, version: str) -> Manifest:
    """The manifest of that content digest. Raises CorruptObject, naming version and file."""
    path = store.manifest(digest)
    got = None
    try:
        with path.open("rb") as stream:
            manifest = read_manifest(stream)
        if manifest.digest == digest:
            return manifest
        got = manifest.digest
    except OSError as error:
        got = error.strerror
    except InvalidManifest as error:
        got = str(error)
    raise CorruptObject(
        f"its manifest is damaged or missing ({path})",
        reference=version,
        expected=digest,
        got=got,
        done="Nothing was served",
        tip="the file from a backup, or delete the version and create it again from its folder",
    )


def rules_of(manifest: Manifest) -> Rules:
    """The patterns that a manifest says it was made by; all files where it does not say."""
    return Rules.from_made(manifest.made) or EVERYTHING


def recorded_rules(store: Store, record: Record) -> Rules | None:
    """The patterns that a version's folder was walked by, from where a checksum covers them; None for unknown.

    Older records name them in the manifest's header alone, and the log has the sum of the manifest's file.
    """
    if record.rules is not None:
        return Rules.from_made(record.rules)
    try:
        if file_sum(store.manifest(record.digest)) != record.manifest:
            return None
        return rules_of(manifest_of(store, record.digest, ""))
    except OSError:
        return None
