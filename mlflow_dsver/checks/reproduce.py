"""Write everything that is needed to reproduce a run to a folder: its verified inputs, environment and a README.

    inputs/ROLE/        the files of each input, only if they are what was recorded
    environment/        requirements.txt, conda.yaml, python_env.yaml, MLproject, as MLflow recorded them
    params.json         the run's params
    record.json         what was requested and written, and how each input was checked
    README.md           the run, how to run it again, and at the top what is missing

Whatever is missing is stated at the top of the README, in the report and by the exit code. Files that differ from
the record are removed again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from mlflow_dsver.checks.provider_cache import meaning, reason
from mlflow_dsver.checks.render.readme import readme
from mlflow_dsver.checks.reports import Verdict
from mlflow_dsver.content.atomic_files import atomic_write, check_new_folder, make_folder, safe_join
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import ContentError, DsverError, InvalidArgument
from mlflow_dsver.model.versions import DatasetVersion, Link, date_text, now
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record.facts import Run
from mlflow_dsver.text import human_bytes, human_count, one_line
from mlflow_dsver.tracking.history import inputs_of
from mlflow_dsver.tracking.queries import Tracking


class State(StrEnum):
    """The state of an input."""

    VERIFIED = "verified"
    """The files were written and have the recorded content digest."""
    UNVERIFIED = "not verifiable"
    """The files were written as the provider has them; no content digest was recorded to compare them with."""
    CHANGED = "changed"
    MISSING = "missing"
    UNREACHABLE = "could not be fetched"


@dataclass(frozen=True, slots=True)
class Reproduced:
    """One input. reason: why it is missing or unverified. folder: its path in the target folder; None if missing."""

    role: str
    requested: str
    version: DatasetVersion
    state: State
    reason: str | None = None
    folder: str | None = None
    files: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReproduceReport:
    """What was written to the folder; true when every input was written and verified.

    environment: paths of the environment's files. missing: what else could not be read, as sentences.
    """

    run: Run
    folder: Path
    inputs: tuple[Reproduced, ...]
    environment: tuple[str, ...]
    missing: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all inputs verified, 1 some changed or missing, 3 some could not be fetched or verified."""
        states = {each.state for each in self.inputs}
        if states & {State.CHANGED, State.MISSING}:
            return 1
        return 0 if states == {State.VERIFIED} else 3


def reproduce(run_id: str, into: str | Path, *, progress: Progress = SILENT) -> ReproduceReport:
    """Write the inputs of a run, its environment and a README to a new or empty folder.

    Raises RunNotFound, TrackingError, and InvalidArgument if the folder is not empty or cannot be written.
    """
    folder = Path(into).absolute()
    tracking = Tracking()
    run = tracking.run(run_id)
    links = inputs_of(run_id)
    _prepare(folder)
    inputs = tuple(_fetched(link, folder, progress) for link in links)
    missing: list[str] = []
    environment: Mapping[str, bytes] = {}
    try:
        environment = tracking.environment_files(run)
    except DsverError as error:
        missing.append(f"the environment could not be read: {one_line(error, 300)}")
    for path, content in environment.items():
        _write(safe_join(folder / "environment", path), content)
    report = ReproduceReport(run, folder, inputs, tuple(sorted(environment)), tuple(missing))
    _write(folder / "params.json", _json(dict(run.params)))
    _write(folder / "record.json", _json(reproduce_json(report)))
    _write(folder / "README.md", readme(report).encode())
    return report


def reproduce_lines(report: ReproduceReport) -> Iterator[str]:
    """The report as lines of text."""
    yield f"{'complete' if report else 'INCOMPLETE'}  {one_line(report.folder, 400)}"
    for each in report.inputs:
        size = f"  {human_count(each.files, 'file')}, {human_bytes(each.bytes)}" if each.folder else ""
        yield f"  {each.role}: {each.state}  {each.version}{size}"
        if each.reason is not None:
            yield f"    {each.reason}"
    if not report.inputs:
        yield "  the run has no link to a dataset version"
    for text in report.missing:
        yield f"  {text}"
    yield f"see {one_line(report.folder / 'README.md', 400)}"


def reproduce_json(report: ReproduceReport) -> dict[str, Any]:
    """The report as a JSON object."""
    return {
        "schema": 1,
        "run_id": report.run.run_id,
        "complete": bool(report),
        "made": date_text(now()),
        "inputs": [
            {
                "role": each.role,
                "requested": each.requested,
                "version": str(each.version),
                "content_digest": each.version.content_digest,
                "state": str(each.state),
                "reason": each.reason,
                "folder": each.folder,
                "files": each.files,
                "bytes": each.bytes,
            }
            for each in report.inputs
        ],
        "environment": list(report.environment),
        "missing": list(report.missing),
    }


def _fetched(link: Link, folder: Path, progress: Progress) -> Reproduced:
    """Fetch one input and compare it with the record; files that differ are removed again."""
    version, target = link.version, folder / "inputs" / link.role

    def failed(state: State, why: str) -> Reproduced:
        shutil.rmtree(target, ignore_errors=True)
        return Reproduced(link.role, link.requested, version, state, why)

    try:
        provider = get_provider(version.ref.provider)
        provider.progress = progress
        provider.materialise(version, target)
        found = hash_folder(target)
    except ContentError as error:
        return failed(State.UNREACHABLE, reason(error))
    except DsverError as error:
        states = {Verdict.MISSING: State.MISSING, Verdict.CHANGED: State.CHANGED}
        return failed(states.get(meaning(error), State.UNREACHABLE), reason(error))
    if version.content_digest not in (None, found.digest):
        return failed(State.CHANGED, f"expected {version.content_digest}; the provider returned {found.digest}")
    return Reproduced(
        link.role,
        link.requested,
        version,
        State.VERIFIED if version.content_digest is not None else State.UNVERIFIED,
        None if version.content_digest is not None else "no content digest was recorded",
        f"inputs/{link.role}",
        len(found),
        found.total_bytes,
    )


def _prepare(folder: Path) -> None:
    try:
        check_new_folder(folder)
        make_folder(folder / "inputs")
    except OSError as error:
        if isinstance(error, DsverError):
            raise
        raise InvalidArgument(f"{folder} cannot be written", got=error.strerror) from error


def _write(path: Path, content: bytes) -> None:
    make_folder(path.parent)
    with atomic_write(path) as stream:
        stream.write(content)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()
