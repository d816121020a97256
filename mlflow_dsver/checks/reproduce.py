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
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mlflow_dsver.checks.provider_cache import meaning, reason
from mlflow_dsver.checks.recorded_inputs import records_of
from mlflow_dsver.checks.reports import Verdict
from mlflow_dsver.content.atomic_files import atomic_write, check_new_folder, make_folder, safe_join
from mlflow_dsver.content.checksums import Checksums, compared, file_checksums
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.patterns import EVERYTHING
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import ContentError, DsverError, InvalidArgument
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import SCHEMA, InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.model.versions import DatasetVersion, Link, now
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record.facts import Run
from mlflow_dsver.text import human_bytes, human_count, markdown, markdown_code, one_line
from mlflow_dsver.tracking.history import links_of
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
    links = links_of(run_id)
    _prepare(folder)
    missing: list[str] = []
    manifests = _manifests(tracking, run, missing)
    inputs = tuple(_fetched(link, manifests.get(link.role), folder, progress) for link in links)
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


def _manifests(tracking: Tracking, run: Run, missing: list[str]) -> dict[str, Manifest]:
    """Role to the manifest that the run recorded. missing: receives why they could not be read."""
    try:
        recorded = list(records_of(run, tracking.record_files(run)))
    except DsverError as error:
        missing.append(f"the recorded manifests could not be read: {one_line(error, 300)}")
        return {}
    found = {}
    for each in recorded:
        with suppress(InvalidManifest):
            if each.manifest is not None:
                found[each.record.role] = read_manifest(BytesIO(each.manifest))
    return found


def _fetched(link: Link, manifest: Manifest | None, folder: Path, progress: Progress) -> Reproduced:
    """Fetch one input and compare it with the record; files that differ are removed again.

    manifest: as the run recorded it. It proves versions whose provider keeps no list of them here.
    """
    version, target = link.version, folder / "inputs" / link.role

    def failed(state: State, why: str) -> Reproduced:
        shutil.rmtree(target, ignore_errors=True)
        return Reproduced(link.role, link.requested, version, state, why)

    try:
        provider = get_provider(version.ref.provider)
        provider.progress = progress
        proven = provider.from_manifest(version, manifest) if manifest is not None else None
        provider.materialise(proven or version, target)
        found = hash_folder(target, rules=EVERYTHING)
    except ContentError as error:
        return failed(State.UNREACHABLE, reason(error))
    except DsverError as error:
        states = {Verdict.MISSING: State.MISSING, Verdict.CHANGED: State.CHANGED}
        return failed(states.get(meaning(error), State.UNREACHABLE), reason(error))
    state, why = State.VERIFIED, None
    if version.content_digest is None:
        state, why = State.UNVERIFIED, "no content digest was recorded"
    elif version.content_digest != found.digest:
        if manifest is None or manifest.schema == SCHEMA or manifest.digest != version.content_digest:
            return failed(State.CHANGED, f"expected {version.content_digest}; the provider returned {found.digest}")
        changed, unknown = _compared(manifest, found, target)
        if changed is not None:
            return failed(State.CHANGED, f"{one_line(changed, 200)} is not as it was recorded")
        if unknown:
            state, why = State.UNVERIFIED, f"of {human_count(unknown, 'file')} no checksum was recorded"
    return Reproduced(
        link.role, link.requested, version, state, why, f"inputs/{link.role}", len(found), found.total_bytes
    )


def _compared(manifest: Manifest, found: Manifest, folder: Path) -> tuple[str | None, int]:
    """The first path that differs from a manifest with evidence, and the number of files without any checksum."""
    unknown = 0
    for recorded, entry in zip_longest(manifest.entries, found.entries):
        if recorded is None or entry is None or recorded[:2] != entry[:2]:
            return (recorded or entry).path, unknown
        checksums = file_checksums(safe_join(folder, entry.path), Checksums.of(recorded).names)
        same = compared(recorded, checksums).same
        if same is False:
            return recorded.path, unknown
        unknown += same is None
    return None, unknown


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


# The README. Texts from the run carry no markup.


_README_FACTS = {
    "mlflow.source.git.commit": "Git commit",
    "mlflow.source.git.repoURL": "Git repository",
    "mlflow.source.git.branch": "Git branch",
    "mlflow.source.name": "Started from",
    "mlflow.source.type": "Kind of source",
    "mlflow.project.entryPoint": "Entry point",
    "mlflow.user": "User",
}


def readme(report: ReproduceReport) -> str:
    """The whole file."""
    return "\n".join(_readme_lines(report)) + "\n"


def _readme_lines(report: ReproduceReport) -> Iterator[str]:
    run = report.run
    yield f"# {markdown(run.name or run.run_id)}"
    yield ""
    yield from _readme_state(report)
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| Run | {markdown_code(run.run_id)} |"
    yield f"| Experiment | {markdown(run.experiment)} |"
    yield f"| Started | {markdown(date_text(run.started) or 'unknown')} |"
    yield f"| Status | {markdown(run.status)} |"
    for tag, name in _README_FACTS.items():
        if run.tags.get(tag):
            yield f"| {name} | {markdown_code(run.tags[tag])} |"
    yield from _readme_inputs(report)
    yield from _readme_rerun(report)
    yield from _readme_values(report)


def _readme_state(report: ReproduceReport) -> Iterator[str]:
    if report:
        yield "Complete: every input is here, and is what the run recorded, byte for byte."
        return
    yield "**INCOMPLETE. With what is here the run cannot be reproduced as it was:**"
    yield ""
    if not report.inputs:
        yield "- The run has no link to a dataset version."
    for each in report.inputs:
        if each.state != "verified":
            why = f": {markdown(each.reason, 600)}" if each.reason else ""
            yield f"- {markdown(each.role)}, {markdown_code(each.version)}: {each.state}{why}"
    for text in report.missing:
        yield f"- {markdown(text, 600)}"


def _readme_inputs(report: ReproduceReport) -> Iterator[str]:
    yield ""
    yield "## Data"
    yield ""
    yield "| Role | Version | Here | Files | Size | Content digest | State |"
    yield "|---|---|---|---|---|---|---|"
    for each in report.inputs:
        cells = (
            markdown(each.role),
            markdown_code(each.version),
            markdown_code(each.folder) if each.folder else "–",
            f"{each.files:,}",
            markdown(human_bytes(each.bytes)),
            markdown_code(each.version.content_digest or "unknown"),
            markdown(each.state),
        )
        yield f"| {' | '.join(cells)} |"


def _readme_rerun(report: ReproduceReport) -> Iterator[str]:
    """How to rerun it: the commands where the run recorded enough, else what is missing."""
    tags = report.run.tags
    commit, repository = tags.get("mlflow.source.git.commit"), tags.get("mlflow.source.git.repoURL")
    source = tags.get("mlflow.source.name")
    yield ""
    yield "## Run it again"
    yield ""
    if not commit:
        yield "No git commit was recorded: the code must be found by other means."
        yield ""
    yield "```sh"
    if repository:
        yield f"git clone {_shell_word(repository)} code && cd code"
    if commit:
        yield f"git checkout {_shell_word(commit)}"
    for path in report.environment:
        if path.endswith("requirements.txt"):
            yield f"pip install -r {_shell_word(str(report.folder / 'environment' / path))}"
    yield f"python {_shell_word(source)}" if source and source.endswith(".py") else "# the command that trains"
    yield "```"
    yield ""
    if report.inputs:
        yield "With the versions pinned, in the script:"
        yield ""
        yield "```python"
        yield "with dsver.start_run("
        yield f"    inputs={_pinned_inputs(report)}"
        yield ") as run: ..."
        yield "```"
        yield ""
    yield "Params are in `params.json`. Of the command line MLflow records no more than the file it started from."
    if report.environment:
        named = ", ".join(markdown_code(f"environment/{path}") for path in report.environment)
        yield f"Environment as MLflow recorded it: {named}\\."
    else:
        yield "No environment was recorded with the run."


def _pinned_inputs(report: ReproduceReport) -> str:
    """Role to canonical reference as a Python dictionary; neither has a character that would need care in code."""
    return json.dumps({each.role: str(each.version) for each in report.inputs})


def _readme_values(report: ReproduceReport) -> Iterator[str]:
    for title, values in (("Params", report.run.params), ("Metrics", report.run.metrics)):
        shown = {name: value for name, value in values.items() if not name.startswith("dsver.")}
        if shown:
            yield ""
            yield f"## {title}"
            yield ""
            yield "| Name | Value |"
            yield "|---|---|"
            yield from (f"| {markdown(name)} | {markdown(value)} |" for name, value in sorted(shown.items()))


def _shell_word(text: str) -> str:
    """One word for a shell, on one line."""
    return shlex.quote(one_line(text, 1000))
