"""`mlflow-dsver holds`, `hold` and `release`: which versions are needed, and keeping them."""

from __future__ import annotations

from pathlib import Path

import click

from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option

apply_option = click.option("--apply", is_flag=True, help="Do it; without this, only what would be done is shown.")
note_option = click.option("--note", help="Why, for a reference.")


@click.command()
@click.argument("dataset", required=False, metavar="[REFERENCE]")
@click.option(
    "--lock",
    "locks",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Versions in this lock file count too.",
)
@apply_option
@json_option
def holds(dataset: str | None, locks: tuple[Path, ...], apply: bool, as_json: bool) -> int:
    """Show which versions are needed, of all datasets or one, and what keeps them from being deleted.

    Needed are the versions of runs that are not deleted, of registered models, and of lock files, over all
    experiments and workspaces. With --apply, their stores are told to keep them, and holds whose run, model or lock
    entry is gone are taken back; holds by note stay. Exit code 1: a hold is missing or no longer needed. 3: not
    everything could be read. Versions at providers that cannot hold any are listed, and do not count; for some of
    these, as for Delta tables, the list that their own cleaner takes is printed.

    \b
    Examples:
      mlflow-dsver holds
      mlflow-dsver holds --lock dsver.lock --apply
      mlflow-dsver holds --json
      mlflow-dsver holds delta:///data/table
    """
    from mlflow_dsver.lineage.retention import hold_lines
    from mlflow_dsver.lineage.retention import holds as needed

    report = needed(locks=locks, apply=apply, dataset=dataset)
    emit(as_json, report.to_json(), render.Lines(hold_lines(report)))
    return report.exit_code


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="RUN|MODEL|REFERENCE...")
@note_option
@apply_option
@json_option
def hold(targets: tuple[str, ...], note: str | None, apply: bool, as_json: bool) -> int:
    """Keep the versions of a run, of a registered model, or one version.

    What keeps them depends on the provider: the local store refuses to delete them, S3 sets a legal hold on each
    object version. Without --apply, only what would be done is shown.

    \b
    Examples:
      mlflow-dsver hold 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --apply
      mlflow-dsver hold models:/cats/3 models:/cats@champion --apply
      mlflow-dsver hold s3://bucket/cats@3f9c2a7d11e05b64 --note "audit of 2026" --apply
    """
    return _change(targets, note, apply=apply, as_json=as_json, put=True)


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="RUN|MODEL|REFERENCE...")
@note_option
@apply_option
@json_option
def release(targets: tuple[str, ...], note: str | None, apply: bool, as_json: bool) -> int:
    """Take back what `hold` did for a run, a registered model or a version.

    Of a version, all notes are taken back, or the one of --note. A version that others need stays held.

    \b
    Examples:
      mlflow-dsver release 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --apply
      mlflow-dsver release local://digits@clean --note "audit of 2026" --apply
    """
    return _change(targets, note, apply=apply, as_json=as_json, put=False)


def _change(targets: tuple[str, ...], note: str | None, *, apply: bool, as_json: bool, put: bool) -> int:
    from mlflow_dsver.lineage import retention

    work = retention.hold if put else retention.release
    reports = [work(target, note=note, apply=apply) for target in targets]
    needs = tuple(need for report in reports for need in report.needs)
    report = retention.HoldReport(needs, (), apply)
    emit(as_json, report.to_json(), render.Lines(retention.hold_lines(report)))
    return 3 if any(need.problem or need.limit for need in needs) else 0


COMMANDS = (holds, hold, release)
