"""What of a check's report a visitor may see: how the record's own claims fared, and nothing else.

The check asks providers and reads folders with the server's keys, for a record that anybody who may edit one run can
make up. A report names what was found: other versions, digests, sizes, paths of the server, near names of datasets.
So the report is rebuilt from what may be said: the verdict, the proof, what was recorded, and which recorded claim
did not hold. Every text that comes from a provider, a folder or an error stays in the server's log.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mlflow_dsver.checks.reports import Finding, InputReport, Record, RunReport, Subject, Verdict

CLAIMS = {
    "content digest": "the content digest",
    "content digest written beside the version": "the content digest",
    "usage bytes": "the usage bytes",
    "immutable (committed, ready)": "immutable (committed, ready)",
}
"""Findings about a claim of the record, by their text, and how the claim is called on the page."""

_PROVIDER = {
    Verdict.CHANGED: "the provider does not confirm what was recorded",
    Verdict.MISSING: "the provider does not have this version",
    Verdict.UNREACHABLE: "the provider could not be asked",
    Verdict.UNVERIFIABLE: "the provider's answer proves nothing",
}
_BYTES = {
    Verdict.CHANGED: "the files are not those that were recorded",
    Verdict.MISSING: "the files are gone",
    Verdict.UNREACHABLE: "the files could not be fetched",
    Verdict.UNVERIFIABLE: "the files could not be compared with the record",
}


def disclosed(report: RunReport, records: Iterable[Record]) -> RunReport:
    """The report with everything left out that does not stand on the run itself.

    records: the run's record, put together without asking anybody; its findings and notes are shown as they are.
    """
    own = {record.role: record for record in records}
    return replace(report, inputs=tuple(_input(each, own.get(each.role)) for each in report.inputs), notes=())


def _input(report: InputReport, record: Record | None) -> InputReport:
    own = record.findings if record else ()
    findings = [each if each in own else _finding(each) for each in report.findings]
    return InputReport(
        role=report.role,
        requested=report.requested,
        version=report.version,
        grade=report.grade,
        verdict=report.verdict,
        proof=report.proof,
        findings=tuple(dict.fromkeys(each for each in findings if each is not None)),
        notes=record.notes if record else (),
        unmet=report.unmet,
    )


def _finding(finding: Finding) -> Finding | None:
    """What may be said of a finding; None for one that says nothing about the record's own claims."""
    if finding.subject is Subject.PROVIDER and finding.what in CLAIMS:
        what = f"{CLAIMS[finding.what]}: not as recorded"
        return Finding(finding.verdict, Subject.PROVIDER, what, expected=finding.expected)
    texts = {Subject.PROVIDER: _PROVIDER, Subject.BYTES: _BYTES}.get(finding.subject, {})
    what = texts.get(finding.verdict, "")
    return Finding(finding.verdict, finding.subject, what) if what else None
