"""Reports of `verify` as text for people: pure functions from value to lines, safe on any terminal."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_dsver.checks import formatting
from mlflow_dsver.checks.reports import InputReport, Report, RunReport, SignatureReport
from mlflow_dsver.text import one_line

_WIDTH = 14


def report_lines(report: Report) -> Iterator[str]:
    """Every run with its inputs, then the totals when there is more than one run."""
    for run in report.runs:
        yield from run_lines(run)
    if len(report.runs) != 1:
        yield formatting.totals(report)


def run_lines(run: RunReport) -> Iterator[str]:
    """The run's verdict, then each input and the signature with their evidence."""
    yield f"{run.verdict if run.inputs or run.signature is not None else 'NO LINK'}  {formatting.run_title(run)}"
    for each in run.inputs:
        yield from _input_lines(each)
    if run.signature is not None:
        yield from signature_lines(run.signature)
    for text in run.unmet:
        yield f"  unmet: {one_line(text)}"
    for note in run.notes:
        yield f"  note: {formatting.note_text(note)}"


def signature_lines(signature: SignatureReport) -> Iterator[str]:
    """The verdict on a signed statement, then the findings against it."""
    proof = formatting.signature_text(signature)
    yield f"  {signature.verdict:<{_WIDTH}}signature  {one_line(signature.file, 300)}{'  ' if proof else ''}{proof}"
    for finding in signature.findings:
        yield f"{' ' * (_WIDTH + 2)}{finding.verdict}: {formatting.finding_text(finding)}"


def _input_lines(report: InputReport) -> Iterator[str]:
    grade = f"grade {report.grade}" if report.grade else "grade unknown"
    proof = formatting.proof_text(report)
    yield f"  {report.verdict:<{_WIDTH}}{report.role}  {report.version}  {grade}{'; ' if proof else ''}{proof}"
    indent = " " * (_WIDTH + 2)
    for finding in report.findings:
        yield f"{indent}{finding.verdict}: {formatting.finding_text(finding)}"
        for line in formatting.detail_lines(report, finding):
            yield f"{indent}  {line}"
    if report.statement:
        yield f"{indent}sample: {one_line(report.statement, 600)}"
    for text in report.unmet:
        yield f"{indent}unmet: {one_line(text)}"
    for note in report.notes:
        yield f"{indent}note: {formatting.note_text(note)}"
