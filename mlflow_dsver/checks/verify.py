"""One verdict over all inputs of a run, or of many runs: can the data still be had, and is it the same?

The runs are read from MLflow, the records put together, every version asked for once at its provider and its bytes
read once, however many runs used it; then each input is judged. Writes nothing: the verdict goes to the run only
through `tag`, and the stat cache is read and not added to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from mlflow_dsver.checks.byte_checks import ReadOptions, read_bytes
from mlflow_dsver.checks.evidence import (
    NOT_ASKED,
    ByteEvidence,
    Depth,
    Evidence,
    Lookup,
    Note,
    ReadStatus,
    Record,
    Verdict,
)
from mlflow_dsver.checks.provider_cache import ProviderCache
from mlflow_dsver.checks.recorded_inputs import Recorded, records_of, unreadable_roles
from mlflow_dsver.checks.reports import Report, RunReport
from mlflow_dsver.checks.sampling import Sampling
from mlflow_dsver.checks.verdicts import judge
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import DsverError, InvalidReference, TrackingError
from mlflow_dsver.model.refs import DatasetRef, parse_recorded
from mlflow_dsver.model.versions import Letter, date_text, now
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.queries import RunFacts, Tracking

VERDICT_TAG = "dsver.verdict"

_ERROR = re.compile(r"dsver(\.[A-Za-z0-9_-]{1,64})?\.error\Z")
_WAITING_THREADS = 8
"""Threads that wait for the tracking server and the providers, which spend most of the time elsewhere."""

Key = tuple[DatasetRef, str | None]
"""A version and its recorded content digest: what is read once."""


RecordFiles = Callable[[RunFacts, bool], Mapping[str, bytes]]
"""Reads the files of a run's record by name, the manifests among them or not; raises TrackingError."""


@dataclass(frozen=True, slots=True)
class Demands:
    """What the caller wants beside a match. require: the lowest grade. links: a run without a link fails."""

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
    """The verdict on one run; true when all of its inputs match.

    depth: `metadata`, `default`, `full` or `sample`; see `Depth`. sampling: what is drawn; given, it means `sample`.
    require: links below this grade make the report false. Raises RunNotFound and TrackingError when the run cannot
    be read, and nothing for what is found.
    """
    run = Tracking().run(run_id)
    effort = _effort(depth, sampling)
    return check_runs([run], effort=effort, demands=Demands(require), progress=progress).runs[0]


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
    """The verdicts on many runs: those named, or else those of the experiments that the filter lets through.

    experiments: names or ids, none for all. filter_text: in MLflow's words. since: begun then or later.
    require_links: runs without a link count as findings. Raises RunNotFound, NotFound for an unknown experiment,
    and TrackingError when MLflow cannot be asked.
    """
    tracking = Tracking()
    if runs:
        found: Iterable[RunFacts] = [tracking.run(run_id) for run_id in dict.fromkeys(runs)]
    else:
        found = tracking.runs(experiments=experiments, filter_text=filter_text, since=since)
    effort = _effort(depth, sampling)
    return check_runs(found, effort=effort, demands=Demands(require, require_links), progress=progress)


def check_runs(
    runs: Iterable[RunFacts],
    *,
    effort: ReadOptions,
    demands: Demands = Demands(),
    progress: Progress = SILENT,
    providers: Callable[[str], Provider] = get_provider,
    files: RecordFiles | None = None,
    aliases: bool = True,
) -> Report:
    """The verdicts on runs that were read already.

    providers: how one is found by name. files: how a run's record is read; None for MLflow at its tracking address.
    aliases: False when what was asked for is not asked again, so that no report says what it means now.
    """
    checked = now()
    desk = ProviderCache(providers)
    check = _Check(effort, desk, progress, files or _files, aliases=aliases)
    with ThreadPoolExecutor(_WAITING_THREADS, "mlflow-dsver-verify") as pool:
        gathered = list(pool.map(check.gather, runs))
        wanted = [each.record for inputs in gathered for each in inputs.recorded]
        if aliases:
            list(pool.map(desk.resolved, dict.fromkeys(filter(None, map(_alias, wanted)))))
        list(pool.map(desk.version, dict.fromkeys(record.version.ref for record in wanted)))
    reports = tuple(check.report(inputs, demands, checked) for inputs in gathered)
    return Report(reports, effort.depth, checked, desk.resolutions)


def tag(report: RunReport) -> None:
    """Write verdict, time and depth of a report to the tag `dsver.verdict` of its run. Raises TrackingError."""
    Tracking().write_tags(report.run_id, {VERDICT_TAG: tag_text(report)})


def tag_text(report: RunReport) -> str:
    """Verdict, time and depth: `MATCH 2026-11-22T04:15:00Z (full)`."""
    return f"{report.verdict} {date_text(report.checked.replace(microsecond=0))} ({report.depth})"


@dataclass(frozen=True, slots=True)
class _Inputs:
    """A run and the records of its inputs."""

    run: RunFacts
    recorded: tuple[Recorded, ...]
    unreadable: tuple[str, ...]


class _Check:
    """One pass over runs: what was read once is kept until the end."""

    def __init__(
        self, effort: ReadOptions, desk: ProviderCache, progress: Progress, files: RecordFiles, *, aliases: bool
    ) -> None:
        self._effort = effort
        self._aliases = aliases
        self._files = files
        self._desk = desk
        self._progress = progress
        self._manifests: dict[str, bytes] = {}
        self._bytes: dict[Key, ByteEvidence] = {}

    def gather(self, run: RunFacts) -> _Inputs:
        """The records of a run; the manifest of each content is kept once, the others are let go."""
        manifests = self._effort.depth is not Depth.METADATA
        files, unread = None, None
        try:
            files = self._files(run, manifests)
        except TrackingError as error:
            unread = one_line(error, 600)
        recorded = tuple(map(self._kept, records_of(run, files, unread, manifests=manifests)))
        return _Inputs(run, recorded, tuple(unreadable_roles(run)))

    def _kept(self, recorded: Recorded) -> Recorded:
        digest = recorded.record.version.content_digest
        if recorded.manifest is not None and digest is not None:
            self._manifests.setdefault(digest, recorded.manifest)
        return replace(recorded, manifest=None)

    def report(self, inputs: _Inputs, demands: Demands, checked: datetime) -> RunReport:
        """The report on a run whose versions were all asked for."""
        reports = tuple(judge(self._evidence(each.record), require=demands.require) for each in inputs.recorded)
        unmet = tuple(f"the {role} input names no version that can be read" for role in inputs.unreadable)
        if demands.links and not reports:
            unmet = (*unmet, "no link to a dataset version")
        failed = {key: text for key, text in inputs.run.tags.items() if _ERROR.match(key)}
        notes = tuple(Note(f"linking failed ({key})", found=text) for key, text in sorted(failed.items()))
        run = inputs.run
        return RunReport(
            run.run_id, run.name, run.experiment, reports, self._effort.depth, checked, unmet=unmet, notes=notes
        )

    def _evidence(self, record: Record) -> Evidence:
        alias = _alias(record) if self._aliases else None
        answer = self._desk.recorded(record.version)
        if answer.elsewhere:
            alias = None  # what is asked for means something else there
        good = record.grade is not None and record.grade.meets("B")
        return Evidence(
            record=replace(record, vouched=good and self._desk.vouches(record.version)),
            answer=answer,
            bytes=self._read(record, answer),
            alias=self._desk.resolved(alias) if alias is not None else None,
            depth=self._effort.depth,
        )

    def _read(self, record: Record, answer: Lookup) -> ByteEvidence:
        if self._effort.depth is Depth.METADATA:
            return NOT_ASKED
        if answer.verdict is Verdict.MISSING:
            return ByteEvidence(ReadStatus.NOT_AT_HAND, reason="the version is gone")
        if answer.elsewhere:
            return ByteEvidence(ReadStatus.NOT_AT_HAND, reason="they are in another store")
        version = record.version
        key = (version.ref, version.content_digest)
        if key not in self._bytes:
            try:
                provider = self._desk.provider(version.ref.provider)
            except DsverError as error:
                return ByteEvidence(ReadStatus.NOT_AT_HAND, reason=one_line(error, 300))
            manifest = self._manifests.get(version.content_digest or "")
            self._bytes[key] = read_bytes(
                provider,
                version,
                self._effort,
                manifest=manifest,
                fetch=answer.version is not None,
                progress=self._progress,
            )
        return self._bytes[key]


def _files(run: RunFacts, manifests: bool) -> Mapping[str, bytes]:
    return Tracking().record_files(run, manifests=manifests)


def _alias(record: Record) -> DatasetRef | None:
    """What was asked for, when that may mean something else by now; None when it named the version itself."""
    try:
        ref = parse_recorded(record.requested or "")
    except InvalidReference:
        return None
    return None if ref == record.version.ref or ref.provider != record.version.ref.provider else ref


def _effort(depth: Depth | str, sampling: Sampling | None) -> ReadOptions:
    if sampling is not None and Depth(depth) not in (Depth.DEFAULT, Depth.SAMPLE):
        raise ValueError(f"a sample is a depth of its own, beside {depth}")
    return ReadOptions(Depth.SAMPLE if sampling is not None else Depth(depth), sampling)
