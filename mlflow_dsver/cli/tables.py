"""Tables of links, runs and the local store's state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlflow_dsver.model.versions import Link
from mlflow_dsver.terminal.render import Block, Table, fields, line, named, table
from mlflow_dsver.text import human_bytes, human_count

if TYPE_CHECKING:
    from mlflow_dsver.providers.local.maintenance import CheckReport, Collection
    from mlflow_dsver.tracking.history import RunUse


def links(found: Iterable[Link]) -> Table:
    """The versions that a run used, one role per line."""
    return table(
        "ROLE VERSION GRADE REQUESTED SIZE TAGS",
        (
            (
                each.role,
                named(each.version.ref, each.version.dataset_name),
                each.grade,
                each.requested,
                human_bytes(each.version.usage_bytes),
                each.version.tags,
            )
            for each in found
        ),
        empty="this run has no linked dataset version",
        right="SIZE",
    )


def runs(found: Iterable[RunUse]) -> Table:
    """Runs that used a version, in the order given."""
    return table(
        "RUN NAME STARTED STATUS ROLE VERSION GRADE",
        (
            (
                each.run_id,
                each.run_name,
                each.started,
                each.status,
                each.role,
                named(each.ref, each.dataset_name),
                each.grade,
            )
            for each in found
        ),
        empty="no run used this",
    )


def store_check(report: CheckReport) -> tuple[Block, ...]:
    """What a check of the store covered, then each finding."""
    looked = fields(
        store=report.store,
        checked=", ".join(
            (
                human_count(report.datasets, "dataset"),
                human_count(report.versions, "version"),
                human_count(report.objects, "object"),
                human_bytes(report.bytes),
            )
        ),
        not_read=human_count(report.references, "version") + " whose bytes lie elsewhere"
        if report.references
        else None,
        result="all well" if report else human_count(len(report.findings), "finding"),
    )
    rows = ((each.kind, each.problem, each.file, each.versions) for each in report.findings)
    return (looked,) if report else (looked, line(""), table("KIND PROBLEM FILE VERSIONS", rows, empty=""))


def collection(done: Collection) -> tuple[Block, ...]:
    """What was or would be freed, and how to free it."""
    what = {"object": done.objects, "manifest": done.manifests, "view": done.views, "leftover": done.leftovers}
    counts = ", ".join(human_count(count, name) for name, count in what.items())
    verb = "would be deleted" if done.dry_run else "deleted"
    young = f"; {done.kept_young:,} younger than an hour are kept" if done.kept_young else ""
    said = line(f"{verb}: {counts}, {human_bytes(done.bytes)}{young}")
    return (said, line("nothing was changed; mlflow-dsver store gc --delete does it")) if done.dry_run else (said,)
