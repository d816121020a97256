"""At the end of a run: is the data still what it was at the start?

What training read is looked at where it lies on this machine: the folder that `path()` gave out, or the folder that
a version refers to. By default files are stat-ed, and only touched ones hashed again; on request all are hashed. What
changed is put on the run as the tag `dsver.R.sealed`, with its paths, and the grade of that input falls to D.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow_dsver.checks.byte_checks import ReadOptions, read_bytes, read_folder
from mlflow_dsver.checks.evidence import ByteEvidence, Depth, Proof, ReadStatus
from mlflow_dsver.checks.formatting import difference_lines, path_lines
from mlflow_dsver.checks.verdicts import difference_in_words, paths_of
from mlflow_dsver.content.patterns import EVERYTHING
from mlflow_dsver.content.progress import SILENT, Progress, UntilLate
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.manifests import Difference
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link, date_text, now
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record.schema import CHANGED_NOTE, key
from mlflow_dsver.resolution import version_files
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.history import inputs_of
from mlflow_dsver.tracking.queries import Tracking

LOOK_SECONDS = 5.0
"""Seconds that the end of a run waits for the look at what was given out, however much that is."""
PATHS_ON_TAG = 20
"""Paths that the tag names at most."""


@dataclass(frozen=True, slots=True)
class SealedInput:
    """One input at the end of the run.

    same: whether it is what was recorded; None when that could not be seen, and `reason` says why.
    difference: from the record to what is there; None where files are not known one by one.
    """

    role: str
    version: DatasetVersion
    grade: Grade
    same: bool | None
    reason: str | None = None
    difference: Difference | None = None
    paths: tuple[str, ...] = ()

    def text(self) -> str:
        """What the tag says, without the time."""
        if self.same is None:
            return f"not looked at: {self.reason}"
        if self.same:
            return "same"
        words = difference_in_words(self.difference) if self.difference else self.reason or "other bytes"
        named = ", ".join(one_line(path, 120) for path in self.paths[:PATHS_ON_TAG])
        more = f" and {len(self.paths) - PATHS_ON_TAG:,} more" if len(self.paths) > PATHS_ON_TAG else ""
        return f"changed: {words}" + (f" ({named}{more})" if named else "")


@dataclass(frozen=True, slots=True)
class SealReport:
    """All inputs at the end of a run; true when every one is what it was at the start. sealed: when."""

    run_id: str
    inputs: tuple[SealedInput, ...]
    sealed: datetime

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all the same, 1 something changed, 3 something could not be looked at, or there was no link."""
        states = {each.same for each in self.inputs}
        return 1 if False in states else 3 if None in states or not states else 0


def seal(run_id: str, *, rehash: bool = False, tag: bool = True, tracking_uri: str | None = None) -> SealReport:
    """Look at the data of a run again, and put on the run what was seen.

    rehash: hash every byte instead of believing unchanged dates. tag: False only reports.
    tracking_uri: the store that has the run; None means MLflow's current one.
    Raises RunNotFound and TrackingError, and nothing for what is found.
    """
    depth = Depth.FULL if rehash else Depth.DEFAULT
    links = inputs_of(run_id, tracking_uri=tracking_uri)
    report = SealReport(run_id, tuple(_sealed(link, depth) for link in links), now())
    if tag and report.inputs:
        Tracking(tracking_uri).write_tags(run_id, seal_tags(report))
    return report


def look_at_given_out(run_id: str, links: Mapping[str, Link], seconds: float = LOOK_SECONDS) -> SealReport:
    """The inputs of a run whose files this process was given, as they lie there now; nothing is put on the run.

    Files are stat-ed, and only touched ones read again. seconds: how long the caller waits; what was not seen by
    then is None. Raises nothing for what is found.
    """
    wanted = [
        link
        for _, link in sorted(links.items())
        if link.version.content_digest is not None and version_files.folder_of(link.version.ref) is not None
    ]
    late = f"not done within {seconds:g} seconds. Try: mlflow-dsver seal {run_id}"
    found = {link.role: SealedInput(link.role, link.version, link.grade, None, late) for link in wanted}
    deadline = Deadline(seconds)

    def work() -> None:
        for link in wanted:
            try:
                given = version_files.folder_of(link.version.ref)
                seen = _sealed(link, Depth.DEFAULT, UntilLate(deadline), given)
            except Exception as error:  # noqa: BLE001  (a plug-in may raise anything, and nobody waits here)
                seen = replace(found[link.role], reason=one_line(f"{type(error).__name__}: {error}", 600))
            if deadline.left() <= 0:
                return
            found[link.role] = seen

    if wanted:
        thread = threading.Thread(target=work, name="mlflow-dsver-seal", daemon=True)
        thread.start()
        thread.join(seconds)
    return SealReport(run_id, tuple(found.values()), now())


def seal_tags(report: SealReport) -> dict[str, str]:
    """The tags that tell of a seal; pure."""
    when = date_text(report.sealed.replace(microsecond=0))
    tags = {}
    for each in report.inputs:
        tags[key(each.role, "sealed")] = f"{when} {each.text()}"
        if each.same is False:
            tags[key(each.role, "grade")] = str(Grade("D", each.grade.notes).noting(CHANGED_NOTE))
    return tags


def seal_lines(report: SealReport) -> Iterator[str]:
    """The report for people."""
    for each in report.inputs:
        state = "not looked at" if each.same is None else "same" if each.same else "changed"
        yield f"{each.role}: {state}  {each.version}"
        if each.reason is not None:
            yield f"  {each.reason}"
        lines = difference_lines(each.difference) if each.difference else path_lines(each.paths)
        yield from (f"  {line}" for line in lines)
    if not report.inputs:
        yield "no link to a dataset version"


def seal_json(report: SealReport) -> dict[str, Any]:
    """The report for programs."""
    return {
        "schema": 1,
        "run_id": report.run_id,
        "sealed": date_text(report.sealed),
        "inputs": [
            {
                "role": each.role,
                "version": str(each.version),
                "same": each.same,
                "reason": each.reason,
                "difference": each.difference.to_json() if each.difference else None,
                "paths": list(each.paths),
            }
            for each in report.inputs
        ],
    }


def _sealed(link: Link, depth: Depth, progress: Progress = SILENT, given: Path | None = None) -> SealedInput:
    version = link.version
    if version.content_digest is None:
        reason = "no content digest was recorded, so there is nothing to compare with"
        return SealedInput(link.role, version, link.grade, None, reason)
    try:
        seen = _look(version, depth, progress, given)
    except (DsverError, OSError) as error:
        return SealedInput(link.role, version, link.grade, None, one_line(error, 600))
    if seen.seen in (ReadStatus.GONE, ReadStatus.DAMAGED):
        return SealedInput(link.role, version, link.grade, False, seen.reason, paths=seen.paths)
    if seen.seen is not ReadStatus.READ:
        return SealedInput(link.role, version, link.grade, None, seen.reason or str(seen.seen), paths=seen.paths)
    if seen.digest == version.content_digest and seen.proof is Proof.NONE:
        return SealedInput(link.role, version, link.grade, None, seen.reason)
    if seen.digest == version.content_digest:
        return SealedInput(link.role, version, link.grade, True)
    paths = paths_of(seen.difference) if seen.difference else ()
    return SealedInput(link.role, version, link.grade, False, difference=seen.difference, paths=paths)


def _look(
    version: DatasetVersion, depth: Depth, progress: Progress = SILENT, given: Path | None = None
) -> ByteEvidence:
    """What lies in the folder that was given out; None leaves it to the provider to know which."""
    provider = get_provider(version.ref.provider)
    place = provider.at_hand(version)
    given = given or (place.given if place is not None else None)
    if given is None and place is None:
        return ByteEvidence(ReadStatus.NOT_AT_HAND, reason="the provider does not keep the files on this machine")
    manifest = place.manifest.read_bytes() if place is not None and place.manifest is not None else None
    if given is None or (place is not None and given == place.folder):
        return read_bytes(provider, version, ReadOptions(depth), manifest=manifest, fetch=False, progress=progress)
    if not given.is_dir():
        return ByteEvidence(ReadStatus.GONE, reason=f"no folder {one_line(given)}")
    return read_folder(given, version, depth, manifest, progress, rules=EVERYTHING)
