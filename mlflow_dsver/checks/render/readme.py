"""The README of a reproduced run: a pure function from the report to Markdown. Texts from the run carry no markup."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlflow_dsver.model.versions import date_text
from mlflow_dsver.text import human_bytes, markdown, markdown_code, one_line

if TYPE_CHECKING:
    from mlflow_dsver.checks.reproduce import ReproduceReport

_FACTS = {
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
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ReproduceReport) -> Iterator[str]:
    run = report.run
    yield f"# {markdown(run.name or run.run_id)}"
    yield ""
    yield from _state(report)
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| Run | {markdown_code(run.run_id)} |"
    yield f"| Experiment | {markdown(run.experiment)} |"
    yield f"| Started | {markdown(date_text(run.started) or 'unknown')} |"
    yield f"| Status | {markdown(run.status)} |"
    for tag, name in _FACTS.items():
        if run.tags.get(tag):
            yield f"| {name} | {markdown_code(run.tags[tag])} |"
    yield from _inputs(report)
    yield from _again(report)
    yield from _values(report)


def _state(report: ReproduceReport) -> Iterator[str]:
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


def _inputs(report: ReproduceReport) -> Iterator[str]:
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


def _again(report: ReproduceReport) -> Iterator[str]:
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
        yield f"git clone {_word(repository)} code && cd code"
    if commit:
        yield f"git checkout {_word(commit)}"
    for path in report.environment:
        if path.endswith("requirements.txt"):
            yield f"pip install -r {_word(str(report.folder / 'environment' / path))}"
    yield f"python {_word(source)}" if source and source.endswith(".py") else "# the command that trains"
    yield "```"
    yield ""
    if report.inputs:
        yield "With the versions pinned, in the script:"
        yield ""
        yield "```python"
        yield "with dsver.start_run("
        yield f"    inputs={_pins(report)}"
        yield ") as run: ..."
        yield "```"
        yield ""
    yield "Params are in `params.json`. Of the command line MLflow records no more than the file it started from."
    if report.environment:
        named = ", ".join(markdown_code(f"environment/{path}") for path in report.environment)
        yield f"Environment as MLflow recorded it: {named}\\."
    else:
        yield "No environment was recorded with the run."


def _pins(report: ReproduceReport) -> str:
    """Role to canonical reference as a Python dictionary; neither has a character that would need care in code."""
    return json.dumps({each.role: str(each.version) for each in report.inputs})


def _values(report: ReproduceReport) -> Iterator[str]:
    for title, values in (("Params", report.run.params), ("Metrics", report.run.metrics)):
        shown = {name: value for name, value in values.items() if not name.startswith("dsver.")}
        if shown:
            yield ""
            yield f"## {title}"
            yield ""
            yield "| Name | Value |"
            yield "|---|---|"
            yield from (f"| {markdown(name)} | {markdown(value)} |" for name, value in sorted(shown.items()))


def _word(text: str) -> str:
    """One word for a shell, on one line."""
    return shlex.quote(one_line(text, 1000))
