"""Find the versions, runs and registered models that contain a file, by its content, its digest or its path.

The search uses a local index of manifests and downloads no data. Each call first updates the index: always with the
recently started runs, and once an hour with everything (older runs that were linked later, deleted runs, models, the
local store). Versions without a manifest cannot be searched; the report lists them.
"""

from __future__ import annotations

import re
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from mlflow_dsver import plugins
from mlflow_dsver.checks.manifest_index import Index, IndexedUse, default_index, drop_index, replace_uses
from mlflow_dsver.checks.manifest_stream import ManifestStream
from mlflow_dsver.checks.recorded_inputs import records_of
from mlflow_dsver.content.checksums import file_checksums
from mlflow_dsver.content.hashing import hash_file
from mlflow_dsver.errors import DsverError, InvalidArgument
from mlflow_dsver.model.evidence import Checksum, checked
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record.facts import Run
from mlflow_dsver.record.schema import manifest_name
from mlflow_dsver.text import human_bytes, human_count, one_line
from mlflow_dsver.tracking.clients import shown_address
from mlflow_dsver.tracking.queries import ModelVersion, Origins, Tracking, origins

Refresh = Literal["auto", "all", "none"]
"""How much of the index is updated before the search."""

ALL_AFTER = 3600.0
"""Seconds after which the whole index is updated."""

_OVERLAP = 86_400.0
"""Seconds by which an update overlaps the previous one: MLflow filters by start time, and links come later."""

_DIGEST = re.compile(r"(?:(blake3|sha512|sha256|sha1|md5):)?([0-9a-f]{32,128})\Z")


@dataclass(frozen=True, slots=True)
class Holding:
    """A content digest whose manifest contains the file.

    versions: references. models: run id to the model versions of that run. orphans: model versions whose run was
    deleted.
    """

    content_digest: str
    files: tuple[FileEntry, ...]
    versions: tuple[str, ...]
    uses: tuple[IndexedUse, ...]
    models: dict[str, tuple[str, ...]]
    orphans: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainsReport:
    """Where a file occurs; true when it occurs anywhere.

    asked: the digest or path searched for. manifests, files: size of the index. unlisted: versions that cannot be
    searched, as they have no manifest. failures: sources that could not be read for the index.
    as_of: time of the last update of the whole index; None if there was none.
    """

    asked: str
    holdings: tuple[Holding, ...]
    manifests: int
    files: int
    unlisted: tuple[str, ...]
    failures: tuple[str, ...]
    as_of: datetime | None

    def __bool__(self) -> bool:
        return bool(self.holdings)


def contains(
    file: str | Path | None = None,
    *,
    digest: str | None = None,
    path: str | None = None,
    refresh: Refresh = "auto",
) -> ContainsReport:
    """Find where a file occurs, by one of: file, digest, path.

    file: a copy of the file. digest: its BLAKE3 or SHA-256, 64 hex digits, or another checksum such as `md5:<hex>`.
    path: its path, exactly as in a manifest. refresh: `auto` updates the index as needed, `all` completely, `none`
    not at all.
    Raises ContentError when the copy cannot be read, InvalidArgument unless exactly one of the three is passed.
    """
    if sum(each is not None for each in (file, digest, path)) != 1:
        raise InvalidArgument("pass exactly one of file, digest and path")
    if file is not None:
        digest = hash_file(Path(file)).digest
    keys = _keys(digest) if digest is not None else []
    target = keys[0] if keys else path or ""
    copy = Path(file) if file is not None else None
    try:
        return _search(target, keys, copy, refresh)
    except (sqlite3.DatabaseError, zlib.error):  # a damaged index is rebuilt
        drop_index()
        return _search(target, keys, copy, refresh)


def _keys(digest: str) -> list[str]:
    """The checksums that a text may mean. Raises InvalidArgument for one that is none."""
    found = _DIGEST.match(digest.lower())
    names = [name for name in ("blake3", "sha256", "sha512", "sha1", "md5") if found and found[1] in (None, name)]
    keys = []
    for name in names:
        with suppress(ValueError):
            keys.append(checked(Checksum(name, found[2] if found else "")).key)
    if not keys:
        raise InvalidArgument(
            "not the digest of a file",
            expected="64 hex digits (BLAKE3 or SHA-256), or sha512:, sha1: or md5: and digits",
            got=one_line(digest, 80),
        )
    return keys


def _search(target: str, keys: Sequence[str], file: Path | None, refresh: Refresh) -> ContainsReport:
    """keys: of the content; () for a path. file: a copy, which is read again for checksums that manifests have."""
    with default_index() as index:
        tracking = Tracking()
        server = shown_address(tracking.address)
        failures = tuple(update_index(index, refresh, tracking))
        if file is not None:
            others = [name for name in index.algorithms() if name != "blake3"]
            keys = [target, *(each.key for each in file_checksums(file, others))] if others else [target]
        entries = index.by_content(*keys) if keys else index.by_path(target)
        holdings = _holdings(index, server, entries)
        manifests, files = index.size()
        unlisted = tuple(index.unlisted(server))
        return ContainsReport(target, holdings, manifests, files, unlisted, failures, _as_of(index, server))


def _holdings(index: Index, server: str, found: Iterable[tuple[str, FileEntry]]) -> tuple[Holding, ...]:
    files: dict[str, list[FileEntry]] = {}
    for digest, entry in found:
        files.setdefault(digest, []).append(entry)
    holdings = []
    for digest, entries in files.items():
        uses = tuple(index.uses(digest, server))
        versions = tuple(index.versions(digest, server))
        orphans = dict.fromkeys(model for each in versions for model in index.models_without_run(each, server))
        runs = dict.fromkeys(use.run_id for use in uses)
        models = {run: tuple(made) for run in runs if (made := index.models(run, server))}
        holdings.append(Holding(digest, tuple(entries), versions, uses, models, tuple(orphans)))
    return tuple(sorted(holdings, key=lambda each: each.versions))


def update_index(index: Index, refresh: Refresh, tracking: Tracking) -> Iterator[str]:
    """Add what is new to the index; yields a message for each source that could not be read, and raises nothing."""
    if refresh == "none":
        return
    server = shown_address(tracking.address)
    row = index.connection.execute("SELECT everything, lately FROM refreshed WHERE server = ?", (server,)).fetchone()
    now = time.time()
    everything = refresh == "all" or row is None or now - row[0] > ALL_AFTER
    since = None if everything else datetime.fromtimestamp(row[1] - _OVERLAP, UTC)
    try:
        runs = list(tracking.linked_runs(since=since))
        models = list(tracking.model_versions()) if everything else []
        deleted = _deleted_runs(tracking, models, runs)
    except DsverError as error:
        yield f"the tracking server: {one_line(error, 300)}"
        runs, deleted = [], []
    else:
        _index_runs(index, server, runs, everything, now)
        if everything:
            _index_models(index, server, models, runs, deleted)
    yield from _index_store(index)
    yield from _index_run_manifests(index, tracking, [*runs, *deleted])


def contains_lines(report: ContainsReport, limit: int = 20) -> Iterator[str]:
    """The report as lines of text. limit: maximum number of files, runs and models of each content."""
    runs = {use.run_id for each in report.holdings for use in each.uses}
    yield (
        f"{one_line(report.asked, 300)}: in {human_count(len(report.holdings), 'content')}, "
        f"used by {human_count(len(runs), 'run')}"
    )
    for each in report.holdings:
        for version in each.versions or (each.content_digest,):
            yield one_line(version, 400)
        for entry in each.files[:limit]:
            yield f"  {one_line(entry.path, 300)}  {human_bytes(entry.bytes)}"
        for use in each.uses[:limit]:
            name = f"{one_line(use.name, 80)} ({use.run_id})" if use.name else use.run_id
            yield f"  {use.role} of run {name} in {one_line(use.experiment, 80)}"
            for model in each.models.get(use.run_id, ()):
                yield f"    model {one_line(model, 200)}"
        if len(each.uses) > limit:
            yield f"  {len(each.uses) - limit:,} more runs"
        for model in each.orphans[:limit]:
            yield f"  model {one_line(model, 200)}, whose run was deleted"
        if len(each.orphans) > limit:
            yield f"  {len(each.orphans) - limit:,} more models whose run was deleted"
    searched = f"{human_count(report.manifests, 'manifest')} with {human_count(report.files, 'file')}"
    yield f"searched {searched}; all runs as of {date_text(report.as_of) or 'never'}"
    if report.unlisted:
        yield f"not searched, as they have no manifest: {human_count(len(report.unlisted), 'version')}"
        yield from (f"  {one_line(version, 400)}" for version in report.unlisted[:limit])
    for failure in report.failures:
        yield f"not read: {failure}"


def contains_json(report: ContainsReport) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "schema": 1,
        "asked": report.asked,
        "found": [
            {
                "content_digest": each.content_digest,
                "versions": list(each.versions),
                "files": [entry.to_json() for entry in each.files],
                "runs": [
                    {
                        "run_id": use.run_id,
                        "name": use.name,
                        "experiment": use.experiment,
                        "role": use.role,
                        "version": use.version,
                        "models": list(each.models.get(use.run_id, ())),
                    }
                    for use in each.uses
                ],
                "models_without_run": list(each.orphans),
            }
            for each in report.holdings
        ],
        "manifests": report.manifests,
        "files": report.files,
        "unlisted": list(report.unlisted),
        "failures": list(report.failures),
        "as_of": date_text(report.as_of),
    }


def _index_runs(index: Index, server: str, runs: Iterable[Run], everything: bool, now: float) -> None:
    rows = [
        (
            server,
            run.run_id,
            each.record.role,
            run.name,
            run.experiment,
            run.started.timestamp() if run.started else None,
            str(each.record.version.ref),
            each.record.version.content_digest,
        )
        for run in runs
        for each in records_of(run, {}, manifests=False)
    ]
    with index.connection:
        if everything:
            index.connection.execute("DELETE FROM uses WHERE server = ?", (server,))
        replace_uses(index.connection, rows)
        index.connection.execute(
            "INSERT INTO refreshed VALUES (?, ?, ?) ON CONFLICT (server) DO UPDATE SET lately = excluded.lately, "
            "everything = iif(?, excluded.everything, everything)",
            (server, now, now, everything),
        )


def _deleted_runs(tracking: Tracking, models: Iterable[ModelVersion], runs: Iterable[Run]) -> list[Run]:
    """The deleted runs that models came from; MLflow is only queried if the run of a model is missing."""
    known = {run.run_id for run in runs}
    missing = {model.run_id for model in models if model.run_id and model.run_id not in known}
    return list(tracking.deleted_runs(missing)) if missing else []


def _used(run: Run) -> Origins:
    return {each.record.role: each.record.version.ref for each in records_of(run, {}, manifests=False)}


def _index_models(
    index: Index, server: str, models: list[ModelVersion], runs: Iterable[Run], deleted: list[Run]
) -> None:
    made_from = origins(models, {run.run_id: _used(run) for run in (*runs, *deleted)})
    records = [each.record.version for run in deleted for each in records_of(run, {}, manifests=False)]
    with index.connection:
        for name in ("models", "origins", "gone"):
            index.connection.execute(f"DELETE FROM {name} WHERE server = ?", (server,))  # noqa: S608  (constants)
        index.connection.executemany(
            "INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?)",
            ((server, model.name, model.version, model.run_id) for model in models if model.run_id),
        )
        index.connection.executemany(
            "INSERT OR REPLACE INTO origins VALUES (?, ?, ?, ?, ?)",
            (
                (server, name, version, role, str(ref))
                for (name, version), inputs in made_from.items()
                for role, ref in inputs.items()
            ),
        )
        index.connection.executemany(
            "INSERT OR REPLACE INTO gone VALUES (?, ?, ?)",
            ((server, str(each.ref), each.content_digest) for each in records if each.content_digest),
        )


def _index_store(index: Index) -> Iterator[str]:
    """Add the versions of the providers that keep manifests on this machine, and their new manifests."""
    versions: list[tuple[Provider, DatasetVersion]] = []
    for name, info in plugins.provider_infos().items():
        if info.has_local_manifests:
            try:
                store = get_provider(name)
                versions += [(store, version) for dataset in store.datasets() for version in store.versions(dataset)]
            except DsverError as error:
                yield f"{info.title}: {one_line(error, 300)}"
                return
    for store, version in versions:
        if version.content_digest is None or index.has(version.content_digest):
            continue
        try:
            copy = store.local_copy(version)
            if copy is not None and copy.manifest is not None:
                with copy.manifest.open("rb") as stream:
                    index.add(stream)
        except (DsverError, OSError, InvalidManifest) as error:
            yield f"{version}: {one_line(error, 300)}"
    with index.connection:
        index.connection.execute("DELETE FROM stored")
        index.connection.executemany(
            "INSERT INTO stored VALUES (?, ?)", ((str(each), each.content_digest) for _, each in versions)
        )


def _index_run_manifests(index: Index, tracking: Tracking, runs: Iterable[Run]) -> Iterator[str]:
    """Add manifests that only runs have; each content digest once, from the first run with an intact manifest."""
    failed: dict[str, str] = {}
    for run in runs:
        entries = {
            manifest_name(each.record.role): (each.record.version.content_digest, each.record.version.ref)
            for each in records_of(run, {}, manifests=False)
        }
        missing = {name: key for name, key in entries.items() if key[0] is not None and not index.has(key[0])}
        if not missing:
            continue
        try:
            files = tracking.record_files(run)
        except DsverError as error:
            failed.update({digest or "": f"{ref}: {one_line(error, 300)}" for digest, ref in missing.values()})
            continue
        for name, (digest, ref) in missing.items():
            why = _add_manifest(index, files.get(name), digest, ref)
            if why is None:
                failed.pop(digest or "", None)
            else:
                failed[digest or ""] = why
    yield from (why for why in failed.values() if why)


def _add_manifest(index: Index, content: bytes | None, digest: str | None, ref: DatasetRef) -> str | None:
    """Add the manifest of a run; returns None, or why it was not added, an empty text if the run has none."""
    if content is None:
        return ""
    try:
        if ManifestStream(BytesIO(content)).content_digest != digest:
            return f"{ref}: the manifest on the run does not have the recorded digest"
        index.add(BytesIO(content))
    except InvalidManifest as error:
        return f"{ref}: the manifest on the run is damaged ({one_line(error, 200)})"
    return None


def _as_of(index: Index, server: str) -> datetime | None:
    row = index.connection.execute("SELECT everything FROM refreshed WHERE server = ?", (server,)).fetchone()
    return datetime.fromtimestamp(row[0], UTC) if row is not None else None
