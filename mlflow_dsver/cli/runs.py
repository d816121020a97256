"""`mlflow-dsver inputs`, `runs` and `attach`: from a run to the versions it used, and back."""

from __future__ import annotations

from itertools import islice

import click

from mlflow_dsver.cli import render
from mlflow_dsver.cli.output import emit, json_option


@click.command()
@click.argument("run")
@json_option
def inputs(run: str, as_json: bool) -> None:
    """Show which dataset versions a run used.

    For each: the role, and how much the link proves (its grade). MLflow is asked at MLFLOW_TRACKING_URI.

    \b
    Examples:
      mlflow-dsver inputs 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c
      mlflow-dsver inputs 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --json
    """
    from mlflow_dsver.tracking.history import inputs_of

    found = inputs_of(run)
    emit(as_json, {"run_id": run, "inputs": [link.to_json() for link in found]}, render.links(found))


@click.command()
@click.argument("reference")
@click.option("--role", help="Only runs that used it in this role.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most that many.")
@json_option
def runs(reference: str, role: str | None, limit: int, as_json: bool) -> None:
    """Show which runs used a version.

    The newest runs first, over all experiments. A REFERENCE without a selector means every version of the
    dataset; with a tag or latest, the version that this means now.

    \b
    Examples:
      mlflow-dsver runs local://digits
      mlflow-dsver runs local://digits@clean --role training
      mlflow-dsver runs local://digits@3f9c2a7d11e05b64 --json
    """
    from mlflow_dsver.tracking.history import runs_using

    found = list(islice(runs_using(reference, role=role), limit))
    emit(as_json, {"reference": reference, "runs": [each.to_json() for each in found]}, render.runs(found))


@click.command()
@click.argument("run")
@click.argument("reference")
@click.option("--role", default="training", show_default=True, help="What the run used the version for.")
@json_option
def attach(run: str, reference: str, role: str, as_json: bool) -> None:
    """Link a version to a run that is over.

    The grade then says `attached later`.

    \b
    Examples:
      mlflow-dsver attach 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c local://digits@clean
      mlflow-dsver attach 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c local://digits-test --role test
    """
    from mlflow_dsver.tracking.api import attach as attach_to

    link = attach_to(run, reference, role).link
    emit(as_json, {"run_id": run, "inputs": [link.to_json()]}, render.links([link]))


COMMANDS = (inputs, runs, attach)
