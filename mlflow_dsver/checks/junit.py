"""Reports of `verify` as JUnit XML: a suite for each run, a test case for each input or signature.

A finding or an unmet requirement is a failure, what could not be checked is an error, a run without links is a
skipped test unless links were required. Pure; characters that XML does not allow are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mlflow_dsver.checks.render import MEANING, detail_lines, finding_text, proof_text, run_title, signature_text
from mlflow_dsver.checks.reports import InputReport, Report, RunReport, SignatureReport, Verdict
from mlflow_dsver.text import one_line

_COUNTS = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}


def report_junit(report: Report) -> str:
    """The whole file."""
    root = Element("testsuites", name="mlflow-dsver verify")
    for run in report.runs:
        _add_suite(root, run)
    when = report.checked.replace(microsecond=0, tzinfo=None).isoformat()
    for suite in (root, *root):
        for attribute, tag in _COUNTS.items():
            suite.set(attribute, str(len(list(suite.iter(tag)))))
        if suite is not root:
            suite.set("timestamp", when)
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, "unicode")}\n'


def _add_suite(root: Element, run: RunReport) -> None:
    suite = SubElement(root, "testsuite", name=_attribute(run_title(run)))
    for each in run.inputs:
        _add_input(suite, run, each)
    if run.signature is not None:
        _add_signature(suite, run, run.signature)
    if run.unmet:
        SubElement(_case(suite, run, "links"), "failure", message=_attribute("; ".join(run.unmet)))
    elif not run.inputs:
        SubElement(_case(suite, run, "links"), "skipped", message="no link to a dataset version")


def _add_input(suite: Element, run: RunReport, each: InputReport) -> None:
    lines = [f"{finding.verdict}: {finding_text(finding)}" for finding in each.findings]
    lines += [line for finding in each.findings for line in detail_lines(each, finding)]
    lines += [f"unmet: {text}" for text in each.unmet]
    message = f"{each.verdict}: {MEANING[each.verdict]}"
    if each.verdict is Verdict.MATCH and each.unmet:
        message = each.unmet[0]
    elif each.verdict is Verdict.MATCH:
        lines = [*filter(None, [proof_text(each), each.statement]), *lines]
    _add_result(_case(suite, run, f"{each.role} {each.version}"), each, message, lines)


def _add_signature(suite: Element, run: RunReport, signature: SignatureReport) -> None:
    lines = [f"{finding.verdict}: {finding_text(finding)}" for finding in signature.findings]
    lines = lines or [signature_text(signature)]
    _add_result(_case(suite, run, f"signature {signature.file}"), signature, lines[0], lines)


def _case(suite: Element, run: RunReport, name: str) -> Element:
    return SubElement(suite, "testcase", classname=_attribute(run.run_id), name=_attribute(name))


def _add_result(case: Element, each: InputReport | SignatureReport, message: str, lines: Sequence[str]) -> None:
    """Record a test case as passed, with output, or as failed or erroneous, with a message."""
    if each.verdict.is_finding or (isinstance(each, InputReport) and each.unmet):
        result = SubElement(case, "failure", message=_attribute(message))
    elif each.verdict is Verdict.MATCH:
        result = SubElement(case, "system-out")
    else:
        result = SubElement(case, "error", message=_attribute(message))
    result.text = "\n".join(one_line(line, 2000) for line in "\n".join(lines).split("\n"))


def _attribute(text: str) -> str:
    return one_line(text, 600)
