"""`mlflow-dsver store …`: check the local store, and delete unused files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_dsver.content.progress import terminal
from mlflow_dsver.terminal.output import emit, json_option
from mlflow_dsver.terminal.render import Block, fields, line, table
from mlflow_dsver.text import human_bytes, human_count

if TYPE_CHECKING:
    from mlflow_dsver.providers.local.maintenance import CheckReport, Collection


@click.group()
def store() -> None:
    """Check the local store, and delete unused files.

    The store is in the folder MLFLOW_DSVER_HOME, or in the platform's folder for data; `doctor` shows it.

    \b
    Examples:
      mlflow-dsver store check
      mlflow-dsver store gc
    """


@store.command()
@json_option
def check(as_json: bool) -> int:
    """Read everything in the store and compare it with its digest.

    Every file is read, without caches, and nothing is changed. Exit code 1: something is damaged or missing; it is
    listed with the versions that need it.

    \b
    Examples:
      mlflow-dsver store check
      mlflow-dsver store check --json
    """
    from mlflow_dsver.providers.local import Store
    from mlflow_dsver.providers.local.maintenance import check as check_store

    with terminal("checking the store") as progress:
        report = check_store(Store.default(), progress=progress)
    emit(as_json, report.to_json(), *check_blocks(report))
    return 0 if report else 1


@store.command()
@click.option("--delete", is_flag=True, help="Delete them; without this they are only counted.")
@json_option
def gc(delete: bool, as_json: bool) -> None:
    """Count, or delete, files that no version needs.

    Files younger than an hour are always kept. Nothing is deleted without --delete.

    \b
    Examples:
      mlflow-dsver store gc
      mlflow-dsver store gc --delete
    """
    from mlflow_dsver.providers.local import Store
    from mlflow_dsver.providers.local.maintenance import collect

    collected = collect(Store.default(), dry_run=not delete)
    emit(as_json, collected.to_json(), *collection_blocks(collected))


def check_blocks(report: CheckReport) -> tuple[Block, ...]:
    """What a check of the store covered, then each finding."""
    covered = fields(
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
    return (covered,) if report else (covered, line(""), table("KIND PROBLEM FILE VERSIONS", rows, empty=""))


def collection_blocks(done: Collection) -> tuple[Block, ...]:
    """What was or would be freed, and how to free it."""
    what = {"object": done.objects, "manifest": done.manifests, "view": done.views, "leftover": done.leftovers}
    counts = ", ".join(human_count(count, name) for name, count in what.items())
    verb = "would be deleted" if done.dry_run else "deleted"
    young = f"; {done.kept_young:,} younger than an hour are kept" if done.kept_young else ""
    summary = line(f"{verb}: {counts}, {human_bytes(done.bytes)}{young}")
    return (
        (summary, line("nothing was changed; mlflow-dsver store gc --delete does it")) if done.dry_run else (summary,)
    )


COMMANDS = (store,)
