"""The bytes of a Paperspace version: finding a folder, comparing it with what is known, copying it out.

A folder comes from a caller (`path=`), the setting MLFLOW_DSVER_PAPERSPACE_PATHS, a mount, or the team's own bucket.
What it holds is compared with the content digest that a version's metadata claims and with the size that the service
states. Bytes are a version's only where that digest agrees, or where somebody names the folder for that very version;
a folder that is named for a dataset, and a size that agrees, fit several versions and prove nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.errors import ContentError, CorruptObject
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace.mounts import Mount
from mlflow_dsver.text import human_bytes, one_line

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A folder that should hold a version.

    mount: how it was found; None when it was named for this very version, or fetched for it.
    """

    folder: Path
    mount: Mount | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a folder's bytes say about being a version.

    same: True when something vouches for it, False when something speaks against it, None when nothing is known.
    note: what speaks against it, as a note of a grade; empty for nothing.
    """

    same: bool | None
    reason: str
    note: str = ""


def hashed(found: Found, progress: Progress) -> Manifest:
    """The manifest of a folder; files that were hashed before and are untouched are not read again."""
    return hash_folder(found.folder, cache=default_cache(), progress=progress)


def is_unchanged(version: DatasetVersion, folder: Path, progress: Progress) -> bool:
    """Whether the folder that a version was made from still has the content digest of the version."""
    try:
        return hashed(Found(folder), progress).digest == version.content_digest
    except ContentError:
        return False  # it was removed, or is being written to


def compare(version: DatasetVersion, found: Found, manifest: Manifest) -> Comparison:
    """Whether these are the version's bytes, as far as it can be known: by digest, by size, by who says so."""
    where = one_line(found.folder)
    if version.content_digest is not None:
        if version.content_digest == manifest.digest:
            return Comparison(True, f"{where} has the content digest of the version")
        return Comparison(
            False, f"{where} has the content digest {manifest.digest}", "files here have another digest"
        )
    if found.mount is not None and found.mount.contradicts(version.id, version.tags):
        reason = f"{where} is mounted from {found.mount.pinned}, says {found.mount.said_by}"
        return Comparison(False, reason, "another version is mounted")
    if version.usage_bytes is not None and version.usage_bytes != manifest.total_bytes:
        stated, there = human_bytes(version.usage_bytes), human_bytes(manifest.total_bytes)
        reason = f"{where} holds {there}, and the service says {stated}"
        return Comparison(False, reason, "files here have another size")
    if found.mount is None:
        return Comparison(True, f"{where} was named for this version")
    if found.mount.pinned == version.id:
        return Comparison(True, f"{where} is mounted from this version, says {found.mount.said_by}")
    sized = "" if version.usage_bytes is None else " has the size that the service states, and"
    return Comparison(None, f"{where}{sized} may be another version: nothing says which one it holds")


def identified(version: DatasetVersion, found: Found, manifest: Manifest) -> DatasetVersion:
    """The version with the content digest of bytes that were hashed here; raises CorruptObject when they are others.

    Where nothing vouches for the folder, the version is given back as it is, with a warning.
    """
    comparison = compare(version, found, manifest)
    if comparison.same is False:
        raise contradiction(version, comparison, "No grade rests on them")
    return _identified(version, comparison, manifest)


def identified_or_noted(version: DatasetVersion, found: Found, manifest: Manifest) -> DatasetVersion:
    """As `identified`, and where the bytes are others, the version with a note for its grade that says so."""
    comparison = compare(version, found, manifest)
    if comparison.same is False:
        log.warning("%s: %s; no grade rests on these files", version.ref, comparison.reason)
        return replace(version, grade_notes=(*version.grade_notes, comparison.note))
    return _identified(version, comparison, manifest)


def _identified(version: DatasetVersion, comparison: Comparison, manifest: Manifest) -> DatasetVersion:
    if comparison.same is None:
        log.warning("%s: %s; its bytes prove nothing about this version", version.ref, comparison.reason)
        return version
    return replace(version, content_digest=manifest.digest, digest_is_claimed=False)


def contradiction(version: DatasetVersion, comparison: Comparison, done: str) -> CorruptObject:
    """The error for a folder that is not the version. done: what was done about it."""
    return CorruptObject(
        f"the files are not those of this version: {comparison.reason}",
        reference=version.ref,
        expected=version.content_digest,
        done=done,
        tip="mount this version, or name the one that is mounted",
    )


def check(version: DatasetVersion, found: Found, manifest: Manifest) -> None:
    """Raise CorruptObject for a folder that is another version, and warn where that is only likely or unknown.

    A size that differs is a warning: what the service counts is not documented.
    """
    comparison = compare(version, found, manifest)
    pinned_to_other = found.mount is not None and found.mount.contradicts(version.id, version.tags)
    by_size = version.content_digest is None and not pinned_to_other
    if comparison.same is False and not by_size:
        raise contradiction(version, comparison, "Nothing was served")
    if comparison.same is not True:
        log.warning("%s: %s; it may be ANOTHER VERSION", version.ref, comparison.reason)
