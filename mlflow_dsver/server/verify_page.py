"""The button that checks a run's data: reads it now, within a short time, and shows what was found.

The record is read with the user's permissions, the data with the server's own keys and folders. Therefore the user
sees only the verdict and the findings about the record's own claims (see `disclosed`); reasons are written to the
server's log. The verdict is written to the run with the user's login, so only if that user may change the run. A
process runs one check at a time. It stops reading after a time limit; larger checks need the command line, and what
was not checked is never shown as checked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial

from mlflow_dsver.checks.byte_checks import ReadOptions
from mlflow_dsver.checks.recorded_inputs import records_of, roles_of
from mlflow_dsver.checks.reports import Finding, InputReport, Record, RunReport, Subject, Verdict
from mlflow_dsver.checks.verify import check_runs, tag_text
from mlflow_dsver.deadlines import BoundedTask, Deadline
from mlflow_dsver.lineage.views import Page
from mlflow_dsver.record import schema
from mlflow_dsver.record.facts import Run
from mlflow_dsver.record.reader import run_of
from mlflow_dsver.server import pages
from mlflow_dsver.server.rest_client import CHECKING, LINK, RestClient, TooLarge, fits, limits_until
from mlflow_dsver.text import one_line

SECONDS = 20.0
"""Maximum seconds of a check; gunicorn ends a worker that does not respond within 30 s."""
MAX_ROLES = 100
"""Maximum roles of one run that are checked."""

_one_at_a_time = threading.Lock()
_logger = logging.getLogger(__name__)


def check(client: RestClient, run_id: str) -> Page:
    """The page of the run with the report of a new check, or with the reason why there is none."""
    here = pages.run_of(client, run_id)  # raises PageNotFound first
    facts = run_of(client.get_run(run_id), here.experiment)
    if len(roles_of(facts)) > MAX_ROLES:
        return pages.run(client, run_id, note=f"More than {MAX_ROLES} inputs. {_on_a_machine(run_id)}")
    if not _one_at_a_time.acquire(blocking=False):
        return pages.run(client, run_id, note="Another check is running on this server. Try again in a moment.")
    try:
        task = BoundedTask(partial(_work, client, facts))
    except BaseException:
        _one_at_a_time.release()
        raise
    try:
        report = task.result(Deadline(SECONDS))
    except TooLarge as error:
        note = f"More than the check on a page reads, so nothing is known: {error}. {_on_a_machine(run_id)}"
        return pages.run(client, run_id, note=note)
    except TimeoutError:
        note = f"Not finished within {SECONDS:.0f} seconds, so nothing is known. {_on_a_machine(run_id)}"
        return pages.run(client, run_id, note=note)
    except Exception as error:  # noqa: BLE001  (a provider's plug-in may raise anything, and its text may name anything)
        _logger.warning("the check of run %s failed: %s: %s", run_id, type(error).__name__, one_line(error, 500))
        note = f"The check failed, so nothing is known; the server's log says why. {_on_a_machine(run_id)}"
        return pages.run(client, run_id, note=note)
    saved = client.set_tag(run_id, schema.VERDICT_TAG, tag_text(report))
    note = "" if saved else "You may not change this run, so the verdict is shown here and not kept."
    return pages.run(client, run_id, report=report, note=note)


def _on_a_machine(run_id: str) -> str:
    return f"On a machine: mlflow-dsver verify {run_id}"


def _work(client: RestClient, facts: Run) -> RunReport:
    """Check a run and return the part of the report that may be shown; always release the lock for the next check."""
    try:
        return _checked(client, facts)
    finally:
        _one_at_a_time.release()


def _checked(client: RestClient, facts: Run) -> RunReport:
    deadline = Deadline(SECONDS)
    files = _files(client, facts, deadline)
    report = check_runs(
        [facts],
        options=ReadOptions(),
        progress=_UntilLate(deadline),
        files=lambda run, manifests: files,
        aliases=False,
    ).runs[0]
    for line in _summary(report):
        _logger.info("check of run %s: %s", facts.run_id, line)
    return disclosed(report, [each.record for each in records_of(facts, files)])


class _UntilLate:
    """A `Progress` that stops reading files once the page's time is over."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        """Check the deadline."""
        self._deadline.check("the check")

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        """Check the deadline."""
        self._deadline.check("the check")


def _summary(report: RunReport) -> Iterator[str]:
    """The findings that are not shown, for the log."""
    for each in report.inputs:
        for finding in each.findings:
            texts = (each.version, finding.what, finding.expected, finding.found)
            yield "; ".join(one_line(text, 600) for text in texts if text)


def _files(client: RestClient, run: Run, deadline: Deadline) -> dict[str, bytes]:
    """The files of the run's record, by name; those that do not exist are left out.

    Raises TooLarge for one that is larger than a page reads, DeadlineExceeded.
    """
    found: dict[str, bytes] = {}
    for role in roles_of(run):
        for name, limit in ((schema.json_name(role), LINK), (schema.manifest_name(role), CHECKING.compressed)):
            deadline.check("reading the record")
            content = client.artifact(run.run_id, f"{schema.FOLDER}/{name}", limit)
            if content is None:
                continue
            if limit != LINK and not fits(content, limits_until(CHECKING, deadline)):
                raise TooLarge(f"{name} is too long a list of files")
            found[name] = content
    return found


# What a user may see of a report. The check queries providers and reads folders with the server's keys, for a
# record that anybody who may edit one run can make up; a report names versions, digests, sizes, paths and similar
# dataset names. So the report is rebuilt from the verdict, the proof, what was recorded, and which recorded claim did
# not hold. Texts that come from a provider, a folder or an error stay in the server's log.


CLAIMS = {
    "content digest": "the content digest",
    "content digest written beside the version": "the content digest",
    "usage bytes": "the usage bytes",
    "immutable (committed, ready)": "immutable (committed, ready)",
}
"""The text of findings about a claim of the record, to the claim's name on the page."""

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
    """The report without anything that is not on the run itself.

    records: the run's record, assembled without any request; its findings and notes are shown as they are.
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
    """The finding as it may be shown; None for one that is not about the record's own claims."""
    if finding.subject is Subject.PROVIDER and finding.what in CLAIMS:
        what = f"{CLAIMS[finding.what]}: not as recorded"
        return Finding(finding.verdict, Subject.PROVIDER, what, expected=finding.expected)
    texts = {Subject.PROVIDER: _PROVIDER, Subject.BYTES: _BYTES}.get(finding.subject, {})
    what = texts.get(finding.verdict, "")
    return Finding(finding.verdict, finding.subject, what) if what else None
