"""Compares the files of a version with what the store that keeps them says now, for versions of object storage.

By default no byte of data is read: version ids, checksums, ETags and dates are compared. `full` reads every object
version and `sample` the drawn ones, and compares the checksums of the bytes that came.
"""

from __future__ import annotations

from io import BytesIO

from mlflow_dsver.checks.reports import ByteEvidence, Depth, Proof, ReadStatus
from mlflow_dsver.checks.sampling import Sampling
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest, gc_paused
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import FileCheck, Provider
from mlflow_dsver.text import human_count


def check_at_store(
    provider: Provider, version: DatasetVersion, depth: Depth, sampling: Sampling | None, recorded: bytes | None
) -> ByteEvidence | None:
    """The evidence on a version's files; None when the provider does not compare them at a store.

    recorded: the run's manifest, compressed, whose digest is the recorded one; None for the provider's own. Raises
    the provider's errors.
    """
    if not provider.has_store_evidence(version):
        return None
    manifest = proven_manifest(version, recorded) or provider.manifest(version)
    if manifest is None:
        return None
    if manifest.digest != version.content_digest:
        return ByteEvidence(ReadStatus.DAMAGED, reason="the provider's manifest is not the recorded one")
    entries: tuple[FileEntry, ...] = manifest.entries
    drawn = None
    if depth is Depth.SAMPLE:
        drawn = sampling or Sampling()
        entries = tuple(drawn.draw(entries))
    found = provider.check_files(version, entries, manifest, read=depth in (Depth.FULL, Depth.SAMPLE))
    return None if found is None else _evidence(version, manifest, found, drawn)


def proven_manifest(version: DatasetVersion, content: bytes | None) -> Manifest | None:
    """The manifest in a run's artifact, if its digest is the version's; None for any other, or a damaged one."""
    if content is None:
        return None
    try:
        with gc_paused():
            manifest = read_manifest(BytesIO(content))
    except InvalidManifest:
        return None
    return manifest if manifest.digest == version.content_digest else None


def _evidence(version: DatasetVersion, manifest: Manifest, found: FileCheck, drawn: Sampling | None) -> ByteEvidence:
    for paths, status, word in (
        (found.missing, ReadStatus.GONE, "missing at the store"),
        (found.changed, ReadStatus.DAMAGED, "not what was recorded"),
        (found.unknown, ReadStatus.FAILED, "could not be compared"),
    ):
        if paths:
            others = (len(found.missing) + len(found.changed) + len(found.unknown)) - len(paths)
            more = f", {others:,} others failed as well" if others else ""
            why = f": {found.reason}" if found.reason else ""
            text = f"{human_count(len(paths), 'file')} of {found.files:,} {word}{more}{why}"
            return ByteEvidence(status, reason=text, paths=tuple(sorted({*found.missing, *found.changed, *paths})))
    statement = f"compared by {found.by}" if found.by else None
    if found.weakly:
        weak = "" if found.weakly == found.files else f" {found.weakly:,} of {found.files:,} files only"
        statement = f"compared by {found.by};{weak} against accident, not against intent"
    if drawn is not None:
        statement = f"{drawn.statement(len(manifest))}; {statement}; added files are not detected"
    proof = Proof.STORE if found.read is None else Proof.HASHED if drawn is None else Proof.SAMPLED
    return ByteEvidence(
        ReadStatus.READ,
        proof=proof,
        digest=version.content_digest if drawn is None else None,
        files=found.files,
        bytes=found.read or 0,
        difference=Difference(unchanged=found.files, weakly=found.weakly),
        statement=statement,
    )
