"""Reports of `verify` as text, Markdown and JSON, and the lines that other checks show. Pure.

Text from outside is escaped and shortened to one line here, so that it is safe on any terminal and carries no
markup. In the JSON, keys are added and never renamed; any other change raises `SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlflow_dsver.checks.reports import Finding, InputReport, Note, Proof, Report, RunReport, SignatureReport, Verdict
from mlflow_dsver.checks.verdicts import difference_counts
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.json_values import date_text, to_json
from mlflow_dsver.text import human_bytes, human_count, markdown, markdown_code, one_line

SCHEMA = 1
"""Version of the JSON."""
PATHS = 20
"""Maximum number of paths shown of a finding or of a kind of difference; the JSON has all of them."""

MEANING = {
    Verdict.MATCH: "the data is available and is what was recorded",
    Verdict.ALIAS_MOVED: "the requested reference now resolves to another version",
    Verdict.UNVERIFIABLE: "nothing proves or disproves that the data is the same",
    Verdict.UNREACHABLE: "the provider or its files could not be reached",
    Verdict.CHANGED: "the data or its record differs from what was recorded",
    Verdict.MISSING: "the data is no longer available",
}

_WIDTH = 14


def run_title(run: RunReport) -> str:
    """`fit-digits (3f2a…) in demo`."""
    name = f"{one_line(run.name, 80)} ({one_line(run.run_id, 40)})" if run.name else one_line(run.run_id, 40)
    return f"{name} in {one_line(run.experiment, 80)}"


def proof_text(report: InputReport) -> str:
    """The proof of a match and how much was read; empty if it is not a match."""
    if report.proof is Proof.NONE:
        return ""
    read = ""
    if report.files_read:
        read = f": {human_count(report.files_read, 'file')}"
        read += f", {human_bytes(report.bytes_read)}" if report.proof is not Proof.STORE else ""
    return f"{report.proof}{read}"


def signature_text(signature: SignatureReport) -> str:
    """What a valid signature proves; empty if it is not valid."""
    return f"signed by the owner of {one_line(signature.key, 300)}, and the run says the same" if signature else ""


def finding_text(finding: Finding) -> str:
    """The finding with what was expected and found, without the paths."""
    return _joined(f"{finding.subject}: {finding.what}", finding.expected, finding.found)


def note_text(note: Note) -> str:
    """The note with what was expected and found."""
    return _joined(note.what, note.expected, note.found)


def difference_lines(difference: Difference, limit: int = PATHS) -> Iterator[str]:
    """One line per file: changed, added, removed, renamed, unknown; at most `limit` of each, and how many others."""
    changed = [
        f"changed  {_path(after.path)}  {human_bytes(before.bytes)} → {human_bytes(after.bytes)}"
        for before, after in difference.changed[:limit]
    ]
    yield from _some(changed, len(difference.changed), "changed")
    added = [f"added    {_path(each.path)}  {human_bytes(each.bytes)}" for each in difference.added[:limit]]
    yield from _some(added, len(difference.added), "added")
    removed = [f"removed  {_path(each.path)}  {human_bytes(each.bytes)}" for each in difference.removed[:limit]]
    yield from _some(removed, len(difference.removed), "removed")
    renamed = [f"renamed  {_path(before.path)} → {_path(after.path)}" for before, after in difference.renamed[:limit]]
    yield from _some(renamed, len(difference.renamed), "renamed")
    unknown = [f"unknown  {_path(after.path)}  no evidence in common" for _, after in difference.unknown[:limit]]
    yield from _some(unknown, len(difference.unknown), "unknown")


def difference_summary(difference: Difference) -> str:
    """`5 files differ: 2 changed, 3 added; 1,790 files unchanged; +1.2 MiB`."""
    growth = difference.growth
    sign = "+" if growth > 0 else ""
    unchanged = human_count(difference.unchanged, "file")
    weakly = f" ({difference.weakly:,} by evidence against accident only)" if difference.weakly else ""
    unknown = ""
    if difference and difference.unknown:
        unknown = f"; {human_count(len(difference.unknown), 'file')} cannot be compared"
    return f"{difference_counts(difference)}; {unchanged} unchanged{weakly}{unknown}; {sign}{human_bytes(growth)}"


def path_lines(paths: tuple[str, ...], limit: int = PATHS) -> Iterator[str]:
    """At most `limit` paths, and the number of the others."""
    yield from _some([_path(path) for path in paths[:limit]], len(paths), "")


def detail_lines(report: InputReport, finding: Finding) -> Iterator[str]:
    """The files that a finding concerns: as a difference if there is one, else as paths."""
    if finding.paths and report.difference is not None:
        yield from difference_lines(report.difference)
    else:
        yield from path_lines(finding.paths)


def totals(report: Report) -> str:
    """`3 runs: 2 MATCH, 1 CHANGED; 1 run has no link; 4 versions requested from providers; depth full`."""
    counts = {verdict: sum(run.verdict is verdict for run in report.linked) for verdict in Verdict}
    listed = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items() if count)
    text = human_count(len(report.runs), "run") + (f": {listed}" if listed else "")
    unlinked = len(report.runs) - len(report.linked)
    if unlinked:
        text += f"; {human_count(unlinked, 'run has no link', 'runs have no link')}"
    return f"{text}; {human_count(report.resolutions, 'version')} requested from providers; depth {report.depth}"


def _joined(what: str, expected: str | None, found: str | None) -> str:
    text = one_line(what, 300)
    if expected is not None:
        text += f"; expected {one_line(expected, 300)}"
    if found is not None:
        text += f"; found {one_line(found, 600)}" if expected is not None else f" ({one_line(found, 600)})"
    return text


def _path(path: str) -> str:
    return one_line(path, 300)


def _some(lines: list[str], total: int, kind: str) -> Iterator[str]:
    yield from lines
    if total > len(lines):
        yield f"{total - len(lines):,} more {kind}".rstrip()


# Text


def report_lines(report: Report) -> Iterator[str]:
    """Every run with its inputs, then the totals when there is more than one run."""
    for run in report.runs:
        yield from run_lines(run)
    if len(report.runs) != 1:
        yield totals(report)


def run_lines(run: RunReport) -> Iterator[str]:
    """The run's verdict, then each input and the signature with their evidence."""
    yield f"{run.verdict if run.inputs or run.signature is not None else 'NO LINK'}  {run_title(run)}"
    for each in run.inputs:
        yield from _input_lines(each)
    if run.signature is not None:
        yield from signature_lines(run.signature)
    for text in run.unmet:
        yield f"  unmet: {one_line(text)}"
    for note in run.notes:
        yield f"  note: {note_text(note)}"


def signature_lines(signature: SignatureReport) -> Iterator[str]:
    """The verdict on a signed statement, then the findings against it."""
    proof = signature_text(signature)
    yield f"  {signature.verdict:<{_WIDTH}}signature  {one_line(signature.file, 300)}{'  ' if proof else ''}{proof}"
    for finding in signature.findings:
        yield f"{' ' * (_WIDTH + 2)}{finding.verdict}: {finding_text(finding)}"


def _input_lines(report: InputReport) -> Iterator[str]:
    grade = f"grade {report.grade}" if report.grade else "grade unknown"
    proof = proof_text(report)
    yield f"  {report.verdict:<{_WIDTH}}{report.role}  {report.version}  {grade}{'; ' if proof else ''}{proof}"
    indent = " " * (_WIDTH + 2)
    for finding in report.findings:
        yield f"{indent}{finding.verdict}: {finding_text(finding)}"
        for line in detail_lines(report, finding):
            yield f"{indent}  {line}"
    if report.statement:
        sample = "sample: " if report.proof is Proof.SAMPLED else ""
        yield f"{indent}{sample}{one_line(report.statement, 600)}"
    for text in report.unmet:
        yield f"{indent}unmet: {one_line(text)}"
    for note in report.notes:
        yield f"{indent}note: {note_text(note)}"


# Markdown, such as the summary of a CI job


def report_markdown(report: Report) -> str:
    """A heading with the verdict, one table of all inputs, then the evidence of what is no match."""
    return "\n".join(_markdown_lines(report)) + "\n"


def _markdown_lines(report: Report) -> Iterator[str]:
    yield f"## Data of {len(report.runs):,} {'run' if len(report.runs) == 1 else 'runs'}: {report.verdict}"
    yield ""
    yield f"{markdown(totals(report), 600)}; {MEANING[report.verdict]}\\."
    yield ""
    yield "| Run | Role | Version | Grade | Verdict | Rests on |"
    yield "|---|---|---|---|---|---|"
    for run in report.runs:
        yield from _markdown_rows(run)
    for run in report.runs:
        yield from _markdown_evidence(run)


def _markdown_rows(run: RunReport) -> Iterator[str]:
    title = markdown(run_title(run))
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
            markdown(proof_text(each)) or "–",
        )
        yield f"| {' | '.join(cells)} |"
    if run.signature is not None:
        verdict, proof = markdown(run.signature.verdict), signature_text(run.signature)
        cells = (
            title,
            "–",
            f"signature {markdown(run.signature.file)}",
            "–",
            f"**{verdict}**",
            markdown(proof, 600),
        )
        yield f"| {' | '.join(cell or '–' for cell in cells)} |"


def _markdown_evidence(run: RunReport) -> Iterator[str]:
    evidence = [line for each in run.inputs for line in _markdown_input(each)]
    if run.signature is not None:
        evidence += [f"- signature: {_markdown_finding(finding)}" for finding in run.signature.findings]
    evidence += [f"- unmet: {markdown(text, 600)}" for text in run.unmet]
    evidence += [f"- note: {markdown(note_text(note), 900)}" for note in run.notes]
    if evidence:
        yield ""
        yield f"### {markdown(run_title(run))}"
        yield ""
        yield from evidence


def _markdown_input(each: InputReport) -> Iterator[str]:
    role = markdown(each.role)
    for finding in each.findings:
        yield f"- {role}: {_markdown_finding(finding)}"
        for line in detail_lines(each, finding):
            yield f"  - {markdown(line, 700)}"
    if each.statement:
        yield f"- {role}: {markdown(each.statement, 900)}"
    for text in each.unmet:
        yield f"- {role}, unmet: {markdown(text, 600)}"
    for note in each.notes:
        yield f"- {role}, note: {markdown(note_text(note), 900)}"


def _markdown_finding(finding: Finding) -> str:
    return f"**{markdown(finding.verdict)}**, {markdown(finding_text(finding), 1200)}"


# JSON


def report_json(report: Report) -> dict[str, Any]:
    """The whole report; dates in ISO 8601, UTC, sizes in bytes, nothing cut."""
    return {
        "schema": SCHEMA,
        "verdict": str(report.verdict),
        "exit_code": report.exit_code,
        "depth": str(report.depth),
        "checked": date_text(report.checked),
        "resolutions": report.resolutions,
        "runs": [run_json(run) for run in report.runs],
    }


def run_json(run: RunReport) -> dict[str, Any]:
    """One run of a report."""
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment": run.experiment,
        "verdict": str(run.verdict),
        "exit_code": run.exit_code,
        "unmet": list(run.unmet),
        "notes": [to_json(note) for note in run.notes],
        "inputs": [_input_json(each) for each in run.inputs],
        "signature": signature_json(run.signature) if run.signature is not None else None,
    }


def signature_json(signature: SignatureReport) -> dict[str, Any]:
    """The verdict on a signed statement about a run."""
    return {
        "file": signature.file,
        "key": signature.key,
        "verdict": str(signature.verdict),
        "findings": [to_json(finding) for finding in signature.findings],
    }


def _input_json(report: InputReport) -> dict[str, Any]:
    first = {"role": report.role, "version": str(report.version)}  # the order of the keys in this JSON
    return first | to_json(report) | {"proof": report.proof.name.lower()}
