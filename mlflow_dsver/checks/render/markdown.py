"""Reports of `verify` as Markdown, such as the summary of a CI job. Pure; texts from outside carry no markup."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_dsver.checks import formatting
from mlflow_dsver.checks.reports import Finding, InputReport, Report, RunReport
from mlflow_dsver.text import markdown, markdown_code


def report_markdown(report: Report) -> str:
    """A heading with the verdict, one table of all inputs, then the evidence of what is no match."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"## Data of {len(report.runs):,} {'run' if len(report.runs) == 1 else 'runs'}: {report.verdict}"
    yield ""
    yield f"{markdown(formatting.totals(report), 600)}; {formatting.MEANING[report.verdict]}\\."
    yield ""
    yield "| Run | Role | Version | Grade | Verdict | Rests on |"
    yield "|---|---|---|---|---|---|"
    for run in report.runs:
        yield from _rows(run)
    for run in report.runs:
        yield from _evidence(run)


def _rows(run: RunReport) -> Iterator[str]:
    title = markdown(formatting.run_title(run))
    if not run.inputs:
        yield f"| {title} | – | – | – | {'no link'} | – |"
    for each in run.inputs:
        grade = markdown(each.grade or "unknown")
        cells = (
            title,
            markdown(each.role),
            markdown_code(each.version),
            grade,
            f"**{markdown(each.verdict)}**",
            markdown(formatting.proof_text(each)) or "–",
        )
        yield f"| {' | '.join(cells)} |"
    if run.signature is not None:
        verdict, proof = markdown(run.signature.verdict), formatting.signature_text(run.signature)
        cells = (
            title,
            "–",
            f"signature {markdown(run.signature.file)}",
            "–",
            f"**{verdict}**",
            markdown(proof, 600),
        )
        yield f"| {' | '.join(cell or '–' for cell in cells)} |"


def _evidence(run: RunReport) -> Iterator[str]:
    told = [line for each in run.inputs for line in _input_evidence(each)]
    if run.signature is not None:
        told += [f"- signature: {_finding(finding)}" for finding in run.signature.findings]
    told += [f"- unmet: {markdown(text, 600)}" for text in run.unmet]
    told += [f"- note: {markdown(formatting.note_text(note), 900)}" for note in run.notes]
    if told:
        yield ""
        yield f"### {markdown(formatting.run_title(run))}"
        yield ""
        yield from told


def _input_evidence(each: InputReport) -> Iterator[str]:
    role = markdown(each.role)
    for finding in each.findings:
        yield f"- {role}: {_finding(finding)}"
        for line in formatting.detail_lines(each, finding):
            yield f"  - {markdown(line, 700)}"
    if each.statement:
        yield f"- {role}: {markdown(each.statement, 900)}"
    for text in each.unmet:
        yield f"- {role}, unmet: {markdown(text, 600)}"
    for note in each.notes:
        yield f"- {role}, note: {markdown(formatting.note_text(note), 900)}"


def _finding(finding: Finding) -> str:
    return f"**{markdown(finding.verdict)}**, {markdown(formatting.finding_text(finding), 1200)}"
