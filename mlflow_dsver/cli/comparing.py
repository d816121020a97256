"""`mlflow-dsver diff`, `compare`, `overlap`, `contains`, `bisect`: versions, runs and files side by side."""

from __future__ import annotations

import click

from mlflow_dsver.cli import render
from mlflow_dsver.cli.output import emit, json_option

paths_option = click.option(
    "--paths", type=click.IntRange(min=0), default=20, show_default=True, help="Paths of each kind that are shown."
)


@click.command()
@click.argument("before")
@click.argument("after")
@click.option("--rows", is_flag=True, help="Also compare rows and columns of changed tables; needs pandas.")
@paths_option
@json_option
def diff(before: str, after: str, rows: bool, paths: int, as_json: bool) -> int:
    """Show what changed from one version to another.

    Files are compared by their manifests; no data is fetched. Exit code 1: they differ.

    \b
    Examples:
      mlflow-dsver diff local://digits@raw local://digits@clean
      mlflow-dsver diff local://digits@raw local://digits@clean --rows
    """
    from mlflow_dsver.checks.diff import diff as difference
    from mlflow_dsver.checks.diff import diff_json, diff_lines

    report = difference(before, after, rows=rows)
    emit(as_json, diff_json(report), render.Lines(diff_lines(report, paths)))
    return 1 if report else 0


COMMANDS = (diff,)
