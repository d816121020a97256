"""Compares versions and finds files by the manifests that runs have as artifacts.

A manifest is read through MLflow from a run that the user may read, and used only if it has the recorded digest. It
is cached on the server's disk, up to `MAX_KEPT`, under the experiment of the run and the recorded digest: only users
who may read that experiment get it, so that knowing a digest discloses nothing. Manifests are uploaded by users, so
their size is limited (see `rest_client`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import islice

from mlflow_dsver import settings
from mlflow_dsver.checks.manifest_stream import ManifestStream, TooManyDifferences, diff_streams, parse_line
from mlflow_dsver.content.file_cache import FileCache
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded
from mlflow_dsver.lineage.views import DiffPage, Hit, SearchPage
from mlflow_dsver.model.differences import content_keys
from mlflow_dsver.model.manifests import InvalidManifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import version_of
from mlflow_dsver.server import dataset_index
from mlflow_dsver.server.dataset_index import DatasetIndex
from mlflow_dsver.server.rest_client import LISTING, RestClient, TooLarge, limits_until
from mlflow_dsver.tracking.lineage_queries import runs_of

SEARCH_SECONDS = 4.0
"""Maximum seconds of reading manifests for one search page; the next page continues there."""
COMPARE_SECONDS = 20.0
"""Maximum seconds of a comparison; gunicorn ends a worker that does not respond within 30 s."""
MOST_HITS = 200
MOST_DIFFERENCES = 100_000
"""Maximum number of files that differ between two versions on a page."""
MAX_KEPT = 1 << 30
"""Bytes of compressed manifests that are kept on the server's disk, in the folder `cache/manifests`."""
MAX_FILES = 10_000
"""Files in that folder at most, so that listing it takes milliseconds."""

_DIGEST = re.compile(r"(?:[a-z0-9]{3,9}:)?([0-9a-f]{8,128})\Z")


def manifest_of(client: RestClient, ref: DatasetRef, deadline: Deadline) -> bytes | None:
    """The compressed manifest of a version; None if no readable run has one within the limits.

    Raises DeadlineExceeded.
    """
    deadline.check("reading manifests")
    runs, _ = runs_of(client, client.experiments, ref)
    for run in runs[:5]:
        for use in run.uses:
            if use.content_digest is None:
                continue
            if (content := _cached_manifest(client, run.experiment_id, use.content_digest)) is not None:
                return content
            path = f"{schema.FOLDER}/{schema.manifest_name(use.role)}"
            try:
                content = client.artifact(run.run_id, path, LISTING.compressed)
            except TooLarge:
                continue
            if content is not None and _is(content, use.content_digest, deadline):
                _cache().put(_file_name(client, run.experiment_id, use.content_digest), content)
                return content
    return None


def compare(client: RestClient, before: DatasetRef, after: DatasetRef) -> DiffPage:
    """What changed from one version to the other, as far as runs recorded their files."""
    deadline = Deadline(COMPARE_SECONDS)
    command = f"On a machine: mlflow-dsver diff {before} {after}"
    try:
        streams: list[BytesIO] = []
        for ref in (before, after):
            content = manifest_of(client, ref, deadline)
            if content is None:
                reason = f"No run that you may read has recorded the files of {ref}, or they are too many for a page."
                return DiffPage(before, after, reason=reason)
            streams.append(BytesIO(content))
        limits = limits_until(LISTING, deadline)
        return DiffPage(before, after, diff_streams(*streams, most=MOST_DIFFERENCES, limits=limits))
    except TooManyDifferences:
        reason = f"More than {MOST_DIFFERENCES:,} files differ, which are too many for a page. {command}"
    except (InvalidManifest, DeadlineExceeded):
        late = deadline.left() <= 0
        reason = f"Not done within {COMPARE_SECONDS:.0f} seconds. {command}" if late else "A manifest is damaged."
    return DiffPage(before, after, reason=reason)


def search(client: RestClient, known: DatasetIndex, text: str, skip: int = 0) -> SearchPage:
    """The versions with a file, newest use first. text: part of its path, or 8 or more hex digits of its digest."""
    deadline = Deadline(SEARCH_SECONDS)
    hits: list[Hit] = []
    searched = unknown = left = 0
    for name, kept_as, remaining in known.contents(skip):
        if deadline.left() <= 0 and searched:
            break
        ref = version_of(name)
        content: bytes | None = None
        found: list[Hit] = []
        try:
            if ref is not None and kept_as is not None:
                content = _cached_manifest(client, *kept_as) or manifest_of(client, ref, deadline)
            if ref is not None and content is not None:
                found.extend(islice(_hits(ref, content, text, deadline), MOST_HITS - len(hits)))
        except (InvalidManifest, DeadlineExceeded):  # damaged, or not read to its end
            content = None
        if content is None and deadline.left() <= 0 and searched:
            left = remaining + 1  # the next page begins with this version
            break
        searched, left, unknown = searched + 1, remaining, unknown + (content is None)
        hits += found
        if len(hits) >= MOST_HITS:
            break
    return SearchPage(text, tuple(hits), searched, unknown, str(skip + searched) if left else None)


def _hits(ref: DatasetRef, content: bytes, text: str, deadline: Deadline) -> Iterator[Hit]:
    digest = _DIGEST.match(text.strip().lower())
    part = json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass")
    begins = [f'"{name}":"{digest[1]}'.encode() for name in ("digest", "value")] if digest else []
    needles: Sequence[bytes] = [*begins, part]
    for line in ManifestStream(BytesIO(content), limits_until(LISTING, deadline)):
        if any(needle in line for needle in needles):
            entry = parse_line(line)
            keys = content_keys(entry)
            if text in entry.path or (digest and any(key.partition(":")[2].startswith(digest[1]) for key in keys)):
                yield Hit(ref, entry.path, entry.bytes, entry.digest)


def _is(content: bytes, digest: str, deadline: Deadline) -> bool:
    """Whether a manifest is within the limits and has that content digest."""
    try:
        lines = ManifestStream(BytesIO(content), limits_until(LISTING, deadline))
        for _ in lines:
            pass
        return lines.content_digest == digest
    except InvalidManifest:
        return False


def _cached_manifest(client: RestClient, experiment_id: str, digest: str) -> bytes | None:
    """The cached manifest of a run of that experiment; None if there is none or the user may not read it."""
    if experiment_id not in client.experiments:
        return None
    return _cache().get(_file_name(client, experiment_id, digest), mark_used=True)


def _cache() -> FileCache:
    return FileCache(settings.home() / "cache" / "manifests", max_files=MAX_FILES, max_bytes=MAX_KEPT)


def _file_name(client: RestClient, experiment_id: str, digest: str) -> str:
    key = json.dumps([dataset_index.store_address(), experiment_id, client.experiments[experiment_id], digest])
    return f"{hashlib.sha256(key.encode()).hexdigest()}.jsonl.gz"
