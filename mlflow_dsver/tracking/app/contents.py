"""The files of versions, from the manifests that runs keep as artifacts: to compare two, and to find a file.

A manifest is taken from a run that the visitor may read, through MLflow, and believed only when its digest is the
one that was recorded. What was read once is kept on the server's disk under that digest, up to `MAX_KEPT`; who can
name the digest of a manifest was shown it, or has the files.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from io import BytesIO

from mlflow_dsver import settings
from mlflow_dsver.checks.manifest_lines import ManifestLines, diff_streams, parse_line
from mlflow_dsver.lineage.facts import version_of
from mlflow_dsver.lineage.views import DiffPage, Hit, SearchPage
from mlflow_dsver.manifests import InvalidManifest
from mlflow_dsver.refs import DatasetRef
from mlflow_dsver.tracking import record
from mlflow_dsver.tracking.app import kept
from mlflow_dsver.tracking.app.catalogue import Catalogue
from mlflow_dsver.tracking.app.visitor import Visitor
from mlflow_dsver.tracking.lineage_queries import runs_of

SEARCH_SECONDS = 4.0
"""How long one search may read manifests; it says how far it came, and goes on from there."""
MOST_HITS = 200
MAX_COMPRESSED = 64 << 20
"""Bytes of a compressed manifest up to which a page reads it: about two million files."""
MAX_KEPT = 1 << 30
"""Bytes of compressed manifests that are kept on the server's disk, in the folder `cache/manifests`."""

_DIGEST = re.compile(r"(?:blake3:)?([0-9a-f]{8,64})\Z")


def manifest_of(visitor: Visitor, ref: DatasetRef, digest: str | None = None) -> bytes | None:
    """The recorded manifest of a version, as it is compressed; None when no readable run has one.

    digest: the version's content digest where the caller has it from a readable experiment.
    """
    folder = settings.home() / "cache" / "manifests"
    if digest is not None and (content := kept.get(folder, digest)) is not None:
        return content
    runs, _ = runs_of(visitor, visitor.experiments, ref)
    for run in runs[:5]:
        for use in run.uses:
            if use.content_digest is None:
                continue
            if (content := kept.get(folder, use.content_digest)) is not None:
                return content
            path = f"{record.FOLDER}/{record.manifest_name(use.role)}"
            content = visitor.artifact(run.run_id, path, MAX_COMPRESSED)
            if content is not None and _digest(content) == use.content_digest:
                kept.put(folder, use.content_digest, content, limit=MAX_KEPT)
                return content
    return None


def compare(visitor: Visitor, before: DatasetRef, after: DatasetRef) -> DiffPage:
    """What changed from one version to the other, as far as runs recorded their files."""
    streams: list[BytesIO] = []
    for ref in (before, after):
        content = manifest_of(visitor, ref)
        if content is None:
            reason = f"No run that you may read has recorded the files of {ref}, or they are too many for a page."
            return DiffPage(before, after, reason=reason)
        streams.append(BytesIO(content))
    return DiffPage(before, after, diff_streams(*streams))


def search(visitor: Visitor, catalogue: Catalogue, wanted: str, skip: int = 0) -> SearchPage:
    """The versions that hold a file, newest use first: a part of a path, or a digest of eight hex digits or more."""
    until = time.monotonic() + SEARCH_SECONDS
    hits: list[Hit] = []
    searched = unknown = left = 0
    for name, digest, remaining in catalogue.contents(skip):
        searched, left = searched + 1, remaining
        ref = version_of(name)
        content = manifest_of(visitor, ref, digest) if ref is not None and digest is not None else None
        if ref is None or content is None:
            unknown += 1
        else:
            hits += _hits(ref, content, wanted)
        if len(hits) >= MOST_HITS or time.monotonic() > until:
            break
    return SearchPage(wanted, tuple(hits[:MOST_HITS]), searched, unknown, str(skip + searched) if left else None)


def _hits(ref: DatasetRef, content: bytes, wanted: str) -> Iterator[Hit]:
    digest = _DIGEST.match(wanted.strip().lower())
    part = json.dumps(wanted, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    needles: Sequence[bytes] = [f'"digest":"{digest[1]}'.encode(), part] if digest else [part]
    for line in ManifestLines(BytesIO(content)):
        if any(needle in line for needle in needles):
            entry = parse_line(line)
            if wanted in entry.path or (digest and entry.digest.startswith(digest[1])):
                yield Hit(ref, entry.path, entry.bytes, entry.digest)


def _digest(content: bytes) -> str | None:
    try:
        lines = ManifestLines(BytesIO(content))
        for _ in lines:
            pass
        return lines.content_digest
    except InvalidManifest:
        return None
