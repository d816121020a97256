"""Verify the inputs of one or many runs: is the data still available, and is it what the run recorded?

Runs are read from MLflow and their records merged. Each version is looked up once at its provider and its files are
read once, however many runs used it; then each input is judged. Nothing is written: only `tag` writes the verdict to
the run, and the stat cache is opened read-only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from mlflow_dsver.checks.byte_checks import ReadOptions, read_bytes
from mlflow_dsver.checks.provider_cache import ProviderCache
from mlflow_dsver.checks.recorded_inputs import Recorded, records_of, unreadable_roles
from mlflow_dsver.checks.reports import (
    ByteEvidence,
    Depth,
    Evidence,
    Lookup,
    Note,
    ReadStatus,
    Record,
    Report,
    RunReport,
    Verdict,
)
from mlflow_dsver.checks.sampling import Sampling
from mlflow_dsver.checks.store_checks import proven_manifest
from mlflow_dsver.checks.verdicts import judge
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import DsverError, InvalidReference, TrackingError
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.refs import DatasetRef, parse_recorded
from mlflow_dsver.model.versions import Letter, now
from mlflow_dsver.providers.interface import Capability, Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import Run
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.queries import Tracking

_ERROR = re.compile(r"dsver(\.[A-Za-z0-9_-]{1,64})?\.error\Z")
_WAITING_THREADS = 8
"""Threads for requests to the tracking server and the providers, which spend most of their time waiting."""

Key = tuple[DatasetRef, str | None]
"""A version and its recorded content digest; the files of each key are read once."""


RecordFiles = Callable[[Run, bool], Mapping[str, bytes]]
"""Reads the artifacts of a run's record by name; the flag says whether to read manifests. Raises TrackingError."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """Requirements beside a match. require: the lowest accepted grade. links: a run without a link fails."""

    require: Letter | None = None
    links: bool = False


def verify(
    run_id: str,
    *,
    depth: Depth | str = Depth.DEFAULT,
    sampling: Sampling | None = None,
    require: Letter | None = None,
    progress: Progress = SILENT,
) -> RunReport:
    """Verify one run; the report is true when all inputs match.

    depth: `metadata`, `default`, `full` or `sample`; see `Depth`. sampling: which files are drawn; implies `sample`.
    require: links below this grade make the report false. Raises RunNotFound and TrackingError if the run cannot be
    read; findings are never raised.
    """
    run = Tracking().run(run_id)
    options = _read_options(depth, sampling)
    return check_runs([run], options=options, requirements=Requirements(require), progress=progress).runs[0]


def verify_runs(
    *,
    runs: Sequence[str] = (),
    experiments: Sequence[str] = (),
    filter_text: str | None = None,
    since: datetime | None = None,
    depth: Depth | str = Depth.DEFAULT,
    sampling: Sampling | None = None,
    require: Letter | None = None,
    require_links: bool = False,
    progress: Progress = SILENT,
) -> Report:
    """Verify many runs: those in `runs`, or else those of the experiments that match the filter.

    experiments: names or ids; all if empty. filter_text: an MLflow filter string, as for `mlflow.search_runs`. since:
    only runs started at this time or later. require_links: runs without a link count as findings. Raises RunNotFound,
    NotFound for an unknown experiment, and TrackingError if MLflow does not respond.
    """
    tracking = Tracking()
    if runs:
        found: Iterable[Run] = [tracking.run(run_id) for run_id in dict.fromkeys(runs)]
    else:
        found = tracking.runs(experiments=experiments, filter_text=filter_text, since=since)
    options = _read_options(depth, sampling)
    return check_runs(found, options=options, requirements=Requirements(require, require_links), progress=progress)


def check_runs(
    runs: Iterable[Run],
    *,
    options: ReadOptions,
    requirements: Requirements = Requirements(),
    progress: Progress = SILENT,
    providers: Callable[[str], Provider] = get_provider,
    files: RecordFiles | None = None,
    aliases: bool = True,
) -> Report:
    """Verify runs that were already read from MLflow.

    providers: returns a provider by name. files: reads a run's record; None means MLflow at its tracking URI.
    aliases: False to not resolve the requested references again; no report then has ALIAS_MOVED.
    """
    checked = now()
    cache = ProviderCache(providers)
    check = _Check(options, cache, progress, files or _files, aliases=aliases)
    with ThreadPoolExecutor(_WAITING_THREADS, "mlflow-dsver-verify") as pool:
        gathered = list(pool.map(check.gather, runs))
        records = [each.record for inputs in gathered for each in inputs.recorded]
        if aliases:
            list(pool.map(cache.resolved, dict.fromkeys(filter(None, map(_alias, records)))))
        list(pool.map(cache.version, dict.fromkeys(record.version.ref for record in records)))
    reports = tuple(check.report(inputs, requirements, checked) for inputs in gathered)
    return Report(reports, options.depth, checked, cache.resolutions)


def tag(report: RunReport) -> None:
    """Write verdict, time and depth of a report to the tag `dsver.verdict` of its run. Raises TrackingError."""
    Tracking().write_tags(report.run_id, {schema.VERDICT_TAG: tag_text(report)})


def tag_text(report: RunReport) -> str:
    """Verdict, time and depth: `MATCH 2026-11-22T04:15:00Z (full)`."""
    return f"{report.verdict} {date_text(report.checked.replace(microsecond=0))} ({report.depth})"


UNVERSIONED = (
    "not checked, as MLflow keeps no versions of the content of an evaluation dataset; inputs={role: "
    "'mlflow://DATASET_ID?create'} links a snapshot"
)
"""The note about an evaluation dataset of `mlflow.genai` among the inputs of a run."""


@dataclass(frozen=True, slots=True)
class _Inputs:
    """A run, the records of its inputs, and the roles whose record cannot be read."""

    run: Run
    recorded: tuple[Recorded, ...]
    unreadable: tuple[str, ...]


class _Check:
    """The state of one check: manifests and files that were already read."""

    def __init__(
        self, options: ReadOptions, cache: ProviderCache, progress: Progress, files: RecordFiles, *, aliases: bool
    ) -> None:
        self._options = options
        self._aliases = aliases
        self._files = files
        self._cache = cache
        self._progress = progress
        self._manifests: dict[str, bytes] = {}
        self._bytes: dict[Key, ByteEvidence] = {}

    def gather(self, run: Run) -> _Inputs:
        """The records of a run; the manifest of each content digest is kept once."""
        manifests = self._options.depth is not Depth.METADATA
        files, failure = None, None
        try:
            files = self._files(run, manifests)
        except TrackingError as error:
            failure = one_line(error, 600)
        recorded = tuple(map(self._keep_manifest, records_of(run, files, failure, manifests=manifests)))
        return _Inputs(run, recorded, tuple(unreadable_roles(run)))

    def _keep_manifest(self, recorded: Recorded) -> Recorded:
        digest = recorded.record.version.content_digest
        if recorded.manifest is not None and digest is not None:
            self._manifests.setdefault(digest, recorded.manifest)
        return replace(recorded, manifest=None)

    def report(self, inputs: _Inputs, requirements: Requirements, checked: datetime) -> RunReport:
        """The report on a run; its versions must have been looked up."""
        reports = tuple(judge(self._evidence(each.record), require=requirements.require) for each in inputs.recorded)
        unmet = tuple(f"the recorded version of the {role} input cannot be read" for role in inputs.unreadable)
        if requirements.links and not reports:
            unmet = (*unmet, "no link to a dataset version")
        failed = {key: text for key, text in inputs.run.tags.items() if _ERROR.match(key)}
        notes = tuple(Note(f"linking failed ({key})", found=text) for key, text in sorted(failed.items()))
        run = inputs.run
        notes += tuple(Note(UNVERSIONED, found=str(each)) for each in run.evaluation_datasets)
        return RunReport(
            run.run_id, run.name, run.experiment, reports, self._options.depth, checked, unmet=unmet, notes=notes
        )

    def _evidence(self, record: Record) -> Evidence:
        alias = _alias(record) if self._aliases else None
        lookup = self._proven(record) or self._cache.recorded(record.version)
        if lookup.elsewhere:
            alias = None  # it would resolve in another store than the recorded one
        recorded = record.grade is not None and record.grade.meets("B")
        return Evidence(
            record=replace(record, guaranteed=recorded and self._cache.is_immutable(record.version)),
            lookup=lookup,
            bytes=self._read(record, lookup),
            alias=self._cache.resolved(alias) if alias is not None else None,
            depth=self._options.depth,
        )

    def _proven(self, record: Record) -> Lookup | None:
        """The recorded version by the run's own manifest, where that proves it and the provider lacks the version."""
        found = self._cache.version(record.version.ref)
        content = self._manifests.get(record.version.content_digest or "")
        if found.verdict is not Verdict.MISSING or content is None:
            return None
        try:
            provider = self._cache.provider(record.version.ref.provider)
            if Capability.EVIDENCE not in provider.capabilities:
                return None
            manifest = proven_manifest(record.version, content)
            version = provider.from_manifest(record.version, manifest) if manifest is not None else None
            if version is None:
                return None
            grade = provider.grade(version)
        except DsverError:
            return None
        return Lookup(version=version, guaranteed=grade.meets("B"), grade=grade)

    def _read(self, record: Record, lookup: Lookup) -> ByteEvidence:
        if lookup.verdict is Verdict.MISSING:
            return ByteEvidence(ReadStatus.NOT_LOCAL, reason="the version no longer exists")
        if lookup.elsewhere:
            return ByteEvidence(ReadStatus.NOT_LOCAL, reason="the files are in another store")
        version = record.version
        key = (version.ref, version.content_digest)
        if key not in self._bytes:
            try:
                provider = self._cache.provider(version.ref.provider)
            except DsverError as error:
                return ByteEvidence(ReadStatus.NOT_LOCAL, reason=one_line(error, 300))
            manifest = self._manifests.get(version.content_digest or "")
            self._bytes[key] = read_bytes(
                provider,
                version,
                self._options,
                manifest=manifest,
                fetch=lookup.version is not None,
                progress=self._progress,
            )
        return self._bytes[key]


def _files(run: Run, manifests: bool) -> Mapping[str, bytes]:
    return Tracking().record_files(run, manifests=manifests)


def _alias(record: Record) -> DatasetRef | None:
    """The requested reference, if it may resolve to another version now; None if it named the version itself."""
    try:
        ref = parse_recorded(record.requested or "")
    except InvalidReference:
        return None
    return None if ref == record.version.ref or ref.provider != record.version.ref.provider else ref


def _read_options(depth: Depth | str, sampling: Sampling | None) -> ReadOptions:
    if sampling is not None and Depth(depth) not in (Depth.DEFAULT, Depth.SAMPLE):
        raise ValueError(f"sampling cannot be combined with depth {depth}")
    return ReadOptions(Depth.SAMPLE if sampling is not None else Depth(depth), sampling)
