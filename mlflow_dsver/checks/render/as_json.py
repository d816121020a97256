"""Reports of `verify` as a JSON object for programs.

Keys are added to and never renamed; whatever else changes raises `schema`.
"""

from __future__ import annotations

from typing import Any

from mlflow_dsver.checks.reports import Finding, InputReport, Note, Report, RunReport, SignatureReport
from mlflow_dsver.model.versions import date_text

SCHEMA = 1


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
        "notes": [_note(note) for note in run.notes],
        "inputs": [_input(each) for each in run.inputs],
        "signature": signature_json(run.signature) if run.signature is not None else None,
    }


def signature_json(signature: SignatureReport) -> dict[str, Any]:
    """The verdict on a signed statement about a run."""
    return {
        "file": signature.file,
        "key": signature.key,
        "verdict": str(signature.verdict),
        "findings": [_finding(finding) for finding in signature.findings],
    }


def _input(report: InputReport) -> dict[str, Any]:
    return {
        "role": report.role,
        "version": str(report.version),
        "requested": report.requested,
        "grade": str(report.grade) if report.grade else None,
        "verdict": str(report.verdict),
        "proof": report.proof.name.lower(),
        "files_read": report.files_read,
        "bytes_read": report.bytes_read,
        "findings": [_finding(finding) for finding in report.findings],
        "notes": [_note(note) for note in report.notes],
        "unmet": list(report.unmet),
        "difference": report.difference.to_json() if report.difference else None,
        "statement": report.statement,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "verdict": str(finding.verdict),
        "subject": str(finding.subject),
        "what": finding.what,
        "expected": finding.expected,
        "found": finding.found,
        "paths": list(finding.paths),
    }


def _note(note: Note) -> dict[str, Any]:
    return {"what": note.what, "expected": note.expected, "found": note.found}
