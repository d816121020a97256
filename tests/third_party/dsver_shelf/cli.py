"""`mlflow-dsver shelf`."""

import click

from dsver_shelf.provider import ShelfProvider
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option


@click.command()
@json_option
def shelf(as_json: bool) -> None:
    """List the datasets on the shelf."""
    found = ShelfProvider().call()
    emit(as_json, {"datasets": found}, render.table("DATASET", ((name,) for name in found), empty="no datasets"))
