"""`mlflow-dsver import`: versions of the local store from the histories of other tools."""

from __future__ import annotations

from pathlib import Path

import click

from mlflow_dsver.content.progress import terminal
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option


@click.group("import")
def import_() -> None:
    """Make versions of the local store from the history of another tool.

    \b
    Examples:
      mlflow-dsver import dvc
      mlflow-dsver import dvc ~/project data/cats --to local://cats
    """


@import_.command()
@click.argument("repository", default=".")
@click.argument("targets", nargs=-1)
@click.option("--to", "target", help="The local dataset; by default it has the last name of the path.")
@click.option("--limit", type=click.IntRange(min=1), help="The newest commits only, that many.")
@click.option("--dry-run", is_flag=True, help="Say what would be imported; make nothing.")
@json_option
def dvc(
    repository: str, targets: tuple[str, ...], target: str | None, limit: int | None, dry_run: bool, as_json: bool
) -> int:
    """Import what DVC tracks in REPOSITORY: a version for each commit that changed it, oldest first.

    TARGETS are paths that DVC tracks; by default all of them. The message is the commit's first line, tags are those
    of git, and the metadata has the commit and DVC's MD5. What was imported before is not made again, so an
    interrupted import goes on. DVC is not needed.

    Exit code: 0 everything is imported, 1 the files of some commits are not there any more; they are named.

    \b
    Examples:
      mlflow-dsver import dvc
      mlflow-dsver import dvc ~/project data/cats --to local://cats --limit 10
      mlflow-dsver import dvc . --dry-run --json
    """
    from mlflow_dsver.providers.dvc.importing import Imported, import_history, targets_in
    from mlflow_dsver.providers.git.repository import repository_of

    found, _ = repository_of(Path(repository).absolute())
    paths = list(targets) or targets_in(found)
    if not paths:
        raise InvalidArgument("DVC tracks nothing in the newest commit", got=found.folder, tip="dvc add FOLDER")
    if target is not None and len(paths) != 1:
        raise InvalidArgument("--to names one dataset", expected="one TARGET", got=f"{len(paths)} of them")
    local = get_provider("local")
    rows: list[Imported] = []
    with terminal("importing") as local.progress:
        for path in paths:
            source = parse(f"dvc://{found.folder / path}")
            into = parse(target) if target is not None else DatasetRef("local", path.rstrip("/").rpartition("/")[2])
            rows += import_history(source, into, local, limit=limit, dry_run=dry_run)
    table = render.table(
        "COMMIT PATH VERSION WHAT",
        (
            (
                each.source.id[:12],
                each.source.ref.dataset.rpartition("/")[2],
                each.made,
                each.reason or (("would be imported" if dry_run else "imported") if each.new else "known already"),
            )
            for each in rows
        ),
        empty="DVC tracks nothing there",
    )
    emit(as_json, {"imported": [each.to_json() for each in rows], "dry_run": dry_run}, table)
    return 1 if any(each.reason for each in rows) else 0
