"""Reports of `verify` as JUnit XML: a suite a run, a test case an input or signature, as CI systems read it.

A finding or an unmet demand is a failure, what could not be checked is an error, a run without links a skipped test
unless links were required. Pure; characters that XML does not allow are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from mlflow_dsver.checks import formatting
from mlflow_dsver.checks.evidence import Verdict
from mlflow_dsver.checks.reports import InputReport, Report, RunReport, SignatureReport
from mlflow_dsver.text import one_line


def report_junit(report: Report) -> str:
    """The whole file."""
    suites = "".join(_suite(run, report) for run in report.runs)
    counts = [_counts(run) for run in report.runs]
    tests, failures, errors, skipped = (sum(each[column] for each in counts) for column in range(4))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="mlflow-dsver verify" tests="{tests}" failures="{failures}" errors="{errors}" '
        f'skipped="{skipped}">\n{suites}</testsuites>\n'
    )


def _suite(run: RunReport, report: Report) -> str:
    tests, failures, errors, skipped = _counts(run)
    cases = "".join(_case(run, each) for each in run.inputs) + "".join(_run_cases(run))
    when = report.checked.replace(microsecond=0, tzinfo=None).isoformat()
    return (
        f'  <testsuite name={_quoted(formatting.run_title(run))} tests="{tests}" failures="{failures}" '
        f'errors="{errors}" skipped="{skipped}" timestamp="{when}">\n{cases}  </testsuite>\n'
    )


def _case(run: RunReport, each: InputReport) -> str:
    lines = [f"{finding.verdict}: {formatting.finding_words(finding)}" for finding in each.findings]
    lines += [line for finding in each.findings for line in formatting.detail_lines(each, finding)]
    lines += [f"unmet: {text}" for text in each.unmet]
    if _kind(each) is None:
        lines = [*filter(None, [formatting.rests_on(each), each.statement]), *lines]
    message = f"{each.verdict}: {formatting.MEANING[each.verdict]}"
    if each.verdict is Verdict.MATCH and each.unmet:
        message = each.unmet[0]
    return _told(run, f"{each.role} {each.version}", _kind(each), message, lines)


def _signature_case(run: RunReport, signature: SignatureReport) -> str:
    lines = [f"{finding.verdict}: {formatting.finding_words(finding)}" for finding in signature.findings]
    lines = lines or [formatting.signature_rests_on(signature)]
    return _told(run, f"signature {signature.file}", _kind(signature), lines[0], lines)


def _told(run: RunReport, name: str, kind: str | None, message: str, lines: Sequence[str]) -> str:
    """A test case that passed with output, or failed with a message."""
    opening = f"    <testcase classname={_quoted(run.run_id)} name={_quoted(name)}"
    body = _text("\n".join(lines))
    inner = f"<system-out>{body}</system-out>"
    if kind is not None:
        inner = f"<{kind} message={_quoted(message)}>{body}</{kind}>"
    return f"{opening}>\n      {inner}\n    </testcase>\n"


def _run_cases(run: RunReport) -> Iterator[str]:
    """What concerns the run as a whole: its signature, demands it fails, and that it has no link."""
    if run.signature is not None:
        yield _signature_case(run, run.signature)
    if not run.inputs or run.unmet:
        inner = '<skipped message="no link to a dataset version"/>'
        if run.unmet:
            inner = f"<failure message={_quoted('; '.join(run.unmet))}/>"
        yield f'    <testcase classname={_quoted(run.run_id)} name="links">\n      {inner}\n    </testcase>\n'


def _kind(each: InputReport | SignatureReport) -> str | None:
    if each.verdict.is_finding or (isinstance(each, InputReport) and each.unmet):
        return "failure"
    return None if each.verdict is Verdict.MATCH else "error"


def _counts(run: RunReport) -> tuple[int, int, int, int]:
    kinds = [_kind(each) for each in (*run.inputs, run.signature) if each is not None]
    whole = 1 if not run.inputs or run.unmet else 0
    return (
        len(kinds) + whole,
        kinds.count("failure") + (1 if run.unmet else 0),
        kinds.count("error"),
        whole if not run.unmet else 0,
    )


def _quoted(text: str) -> str:
    return f'"{escape(one_line(text, 600))}"'


def _text(text: str) -> str:
    return "\n".join(escape(one_line(line, 2000)) for line in text.split("\n"))
