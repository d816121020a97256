"""At the end of a run, check whether its data changed since the start.

The files that training read are checked in copy: in the local copy that `path()` returned, or in the folder that a
version refers to. By default only files whose stat changed are hashed again; on request all files are. The result is
logged as the tag `dsver.<role>.sealed`, with the changed paths, and a changed input is downgraded to grade D.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from mlflow_dsver.checks.byte_checks import ReadOptions, read_bytes, read_folder
from mlflow_dsver.checks.manifest_stream import ManifestStream
from mlflow_dsver.checks.render import difference_lines, path_lines
from mlflow_dsver.checks.reports import ByteEvidence, Depth, Proof, ReadStatus
from mlflow_dsver.checks.verdicts import difference_counts, paths_of
from mlflow_dsver.content.patterns import EVERYTHING
from mlflow_dsver.content.progress import SILENT, Progress, UntilLate
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import InvalidManifest
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link, now
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record.schema import CHANGED_NOTE, key
from mlflow_dsver.resolution import version_files
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking.history import links_of
from mlflow_dsver.tracking.queries import Tracking

CHECK_SECONDS = 5.0
"""Maximum seconds that the end of a run waits for the check of its local copies."""
PATHS_ON_TAG = 20
"""Maximum number of paths in the tag."""


@dataclass(frozen=True, slots=True)
class SealedInput:
    """One input at the end of the run.

    same: whether it is what was recorded; None if it could not be checked, for the reason in `reason`.
    difference: from the record to the present files; None if the files are not known one by one.
    """

    role: str
    version: DatasetVersion
    grade: Grade
    same: bool | None
    reason: str | None = None
    difference: Difference | None = None
    paths: tuple[str, ...] = ()

    def text(self) -> str:
        """The value of the tag, without the time."""
        if self.same is None:
            return f"not checked: {self.reason}"
        if self.same:
            return "same"
        summary = difference_counts(self.difference) if self.difference else self.reason or "other bytes"
        named = ", ".join(one_line(path, 120) for path in self.paths[:PATHS_ON_TAG])
        more = f" and {len(self.paths) - PATHS_ON_TAG:,} more" if len(self.paths) > PATHS_ON_TAG else ""
        return f"changed: {summary}" + (f" ({named}{more})" if named else "")


@dataclass(frozen=True, slots=True)
class SealReport:
    """All inputs at the end of a run; true when none of them changed. sealed: time of the check, with time zone."""

    run_id: str
    inputs: tuple[SealedInput, ...]
    sealed: datetime

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 none changed, 1 some input changed, 3 some input could not be checked, or there was no link."""
        states = {each.same for each in self.inputs}
        return 1 if False in states else 3 if None in states or not states else 0


def seal(run_id: str, *, rehash: bool = False, tag: bool = True, tracking_uri: str | None = None) -> SealReport:
    """Check the data of a run again and log the result on the run.

    rehash: hash every file, even if its stat did not change. tag: False to only return the report.
    tracking_uri: of the store that has the run; None means MLflow's current tracking URI.
    Raises RunNotFound and TrackingError; findings are never raised.
    """
    depth = Depth.FULL if rehash else Depth.DEFAULT
    links = links_of(run_id, tracking_uri=tracking_uri)
    report = SealReport(run_id, tuple(_sealed(link, depth) for link in links), now())
    if tag and report.inputs:
        Tracking(tracking_uri).write_tags(run_id, seal_tags(report))
    return report


def check_local_copies(run_id: str, links: Mapping[str, Link], seconds: float = CHECK_SECONDS) -> SealReport:
    """Check the local copies that this process got for the inputs of a run; nothing is logged on the run.

    Only files whose stat changed are read again. seconds: maximum time that the caller waits; inputs that were not
    checked by then have `same` None. Findings are never raised.
    """
    checked = [
        link
        for _, link in sorted(links.items())
        if link.version.content_digest is not None and version_files.folder_of(link.version.ref) is not None
    ]
    late = f"not finished within {seconds:g} seconds. Try: mlflow-dsver seal {run_id}"
    found = {link.role: SealedInput(link.role, link.version, link.grade, None, late) for link in checked}
    deadline = Deadline(seconds)

    def work() -> None:
        for link in checked:
            try:
                folder = version_files.folder_of(link.version.ref)
                result = _sealed(link, Depth.DEFAULT, UntilLate(deadline), folder)
            except Exception as error:  # noqa: BLE001  (a plug-in may raise anything, and this thread has no caller)
                result = replace(found[link.role], reason=one_line(f"{type(error).__name__}: {error}", 600))
            if deadline.left() <= 0:
                return
            found[link.role] = result

    if checked:
        # A read from a network mount cannot be cancelled; a daemon thread does not delay the end of the process.
        thread = threading.Thread(target=work, name="mlflow-dsver-seal", daemon=True)
        thread.start()
        thread.join(seconds)
    return SealReport(run_id, tuple(found.values()), now())


def seal_tags(report: SealReport) -> dict[str, str]:
    """The tags for a report. Pure."""
    when = date_text(report.sealed.replace(microsecond=0))
    tags = {}
    for each in report.inputs:
        tags[key(each.role, "sealed")] = f"{when} {each.text()}"
        if each.same is False:
            tags[key(each.role, "grade")] = str(Grade("D", each.grade.notes).with_notes(CHANGED_NOTE))
    return tags


def seal_lines(report: SealReport) -> Iterator[str]:
    """The report as lines of text."""
    for each in report.inputs:
        state = "not checked" if each.same is None else "same" if each.same else "changed"
        yield f"{each.role}: {state}  {each.version}"
        if each.reason is not None:
            yield f"  {each.reason}"
        lines = difference_lines(each.difference) if each.difference else path_lines(each.paths)
        yield from (f"  {line}" for line in lines)
    if not report.inputs:
        yield "no link to a dataset version"


def seal_json(report: SealReport) -> dict[str, Any]:
    """The report as a JSON object."""
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


def _sealed(link: Link, depth: Depth, progress: Progress = SILENT, folder: Path | None = None) -> SealedInput:
    version = link.version
    if version.content_digest is None:
        reason = "no content digest was recorded, so there is nothing to compare with"
        return SealedInput(link.role, version, link.grade, None, reason)
    try:
        evidence = _read(version, depth, progress, folder)
    except (DsverError, OSError) as error:
        return SealedInput(link.role, version, link.grade, None, one_line(error, 600))
    if evidence.status in (ReadStatus.GONE, ReadStatus.DAMAGED):
        return SealedInput(link.role, version, link.grade, False, evidence.reason, paths=evidence.paths)
    if evidence.status is not ReadStatus.READ:
        return SealedInput(
            link.role, version, link.grade, None, evidence.reason or str(evidence.status), paths=evidence.paths
        )
    if evidence.digest == version.content_digest and evidence.proof is Proof.NONE:
        return SealedInput(link.role, version, link.grade, None, evidence.reason)
    if evidence.digest == version.content_digest:
        return SealedInput(link.role, version, link.grade, True)
    paths = paths_of(evidence.difference) if evidence.difference else ()
    return SealedInput(link.role, version, link.grade, False, difference=evidence.difference, paths=paths)


def _read(
    version: DatasetVersion, depth: Depth, progress: Progress = SILENT, folder: Path | None = None
) -> ByteEvidence:
    """Read the files in the local copy. folder: where it is; None to ask the provider."""
    provider = get_provider(version.ref.provider)
    copy = provider.local_copy(version)
    folder = folder or (copy.given if copy is not None else None)
    if folder is None and copy is None:
        return ByteEvidence(ReadStatus.NOT_LOCAL, reason="the provider does not keep the files on this machine")
    if copy is not None and copy.hashed is not None:
        return _read_fetched(version, copy.folder, copy.hashed, depth, progress)
    manifest = copy.manifest.read_bytes() if copy is not None and copy.manifest is not None else None
    if folder is None or (copy is not None and folder == copy.folder):
        return read_bytes(provider, version, ReadOptions(depth), manifest=manifest, fetch=False, progress=progress)
    if not folder.is_dir():
        return ByteEvidence(ReadStatus.GONE, reason=f"no folder {one_line(folder)}")
    return read_folder(folder, version, depth, manifest, progress, rules=EVERYTHING)


def _read_fetched(
    version: DatasetVersion, folder: Path, hashed: Path, depth: Depth, progress: Progress
) -> ByteEvidence:
    """Compare a fetched copy with its own manifest, where the version's has what a store says of the files."""
    content = hashed.read_bytes()
    try:
        own = replace(version, content_digest=ManifestStream(BytesIO(content)).content_digest)
    except InvalidManifest as error:
        return ByteEvidence(ReadStatus.FAILED, reason=f"the manifest of the copy is damaged: {one_line(error, 300)}")
    if not folder.is_dir():
        return ByteEvidence(ReadStatus.GONE, reason=f"no folder {one_line(folder)}")
    evidence = read_folder(folder, own, depth, content, progress, rules=EVERYTHING)
    return replace(evidence, digest=version.content_digest) if evidence.digest == own.content_digest else evidence
