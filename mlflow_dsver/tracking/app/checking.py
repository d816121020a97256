"""The button that checks a run's data: reads it now, within a short time, and shows what was found.

The record is read with the visitor's eyes; the data with the server's own keys and folders. What the visitor gets to
see is the verdict and its reasons. The verdict is written to the run in the visitor's name, so only where MLflow lets
that visitor change the run. One check runs at a time in a process, and what takes too long is left to the command
line: not checked is never shown as checked.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate

from mlflow_dsver.checks.reading import Effort
from mlflow_dsver.checks.record import roles_of
from mlflow_dsver.checks.reports import RunReport
from mlflow_dsver.checks.verify import VERDICT_TAG, check_runs, tag_text
from mlflow_dsver.lineage.views import Page
from mlflow_dsver.tracking import record
from mlflow_dsver.tracking.app import pages
from mlflow_dsver.tracking.app.visitor import Visitor
from mlflow_dsver.tracking.queries import RunFacts, facts_of

SECONDS = 20.0
"""How long the page waits; gunicorn ends a worker that does not answer within 30 s."""
MAX_FILE = 64 << 20
"""Bytes of one file of the record at most."""

_one_at_a_time = threading.Lock()


def check(visitor: Visitor, run_id: str) -> Page:
    """The page of the run with the report of a check that was made just now, or with why there is none."""
    here = pages.run_of(visitor, run_id)  # raises NotThere before anything is done
    if not _one_at_a_time.acquire(blocking=False):
        return pages.run(visitor, run_id, note="Another check is running on this server. Try again in a moment.")
    done: Future[RunReport] = Future()
    facts = facts_of(visitor.get_run(run_id), here.experiment)
    threading.Thread(target=_work, args=(done, visitor, facts), name="mlflow-dsver-check", daemon=True).start()
    try:
        report = done.result(SECONDS)
    except TooLate:
        note = f"Not finished within {SECONDS:.0f} seconds, so nothing is known. On a machine: "
        return pages.run(visitor, run_id, note=f"{note}mlflow-dsver verify {run_id}")
    saved = visitor.set_tag(run_id, VERDICT_TAG, tag_text(report))
    note = "" if saved else "You may not change this run, so the verdict is shown here and not kept."
    return pages.run(visitor, run_id, report=report, note=note)


def _work(done: Future[RunReport], visitor: Visitor, facts: RunFacts) -> None:
    try:
        done.set_result(
            check_runs([facts], effort=Effort(), files=lambda run, manifests: _files(visitor, run, manifests)).runs[0]
        )
    except BaseException as error:  # noqa: BLE001  (it is raised again where the result is waited for)
        done.set_exception(error)
    finally:
        _one_at_a_time.release()


def _files(visitor: Visitor, run: RunFacts, manifests: bool) -> dict[str, bytes]:
    """The files of the run's record, by name; those that do not exist are left out."""
    names = [record.json_name(role) for role in roles_of(run)]
    if manifests:
        names += [record.manifest_name(role) for role in roles_of(run)]
    found = {name: visitor.artifact(run.run_id, f"{record.FOLDER}/{name}", MAX_FILE) for name in names}
    return {name: content for name, content in found.items() if content is not None}
