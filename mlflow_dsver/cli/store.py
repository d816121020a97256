"""`mlflow-dsver store …`: check the local store, and collect what no version needs any more."""

from __future__ import annotations

import click

from mlflow_dsver.cli import tables
from mlflow_dsver.content.progress import terminal
from mlflow_dsver.terminal.output import emit, json_option


@click.group()
def store() -> None:
    """Check the local store, and free what no version needs.

    The store lies in the folder MLFLOW_DSVER_HOME, or where this platform keeps data; `doctor` says where.

    \b
    Examples:
      mlflow-dsver store check
      mlflow-dsver store gc
    """


@store.command()
@json_option
def check(as_json: bool) -> int:
    """Read everything in the store and compare it with its digest.

    No cache, date or file mode stands in for reading, and nothing is changed. Ends with 1 when something is
    damaged or missing, and names it and the versions that need it.

    \b
    Examples:
      mlflow-dsver store check
      mlflow-dsver store check --json
    """
    from mlflow_dsver.providers.local import Store
    from mlflow_dsver.providers.local.maintenance import check as check_store

    with terminal("checking the store") as progress:
        report = check_store(Store.default(), progress=progress)
    emit(as_json, report.to_json(), *tables.store_check(report))
    return 0 if report else 1


@store.command()
@click.option("--delete", is_flag=True, help="Delete it; without this it is only counted.")
@json_option
def gc(delete: bool, as_json: bool) -> None:
    """Count, or delete, what no version needs any more.

    What is younger than an hour is kept in any case. Nothing is deleted without --delete.

    \b
    Examples:
      mlflow-dsver store gc
      mlflow-dsver store gc --delete
    """
    from mlflow_dsver.providers.local import Store
    from mlflow_dsver.providers.local.maintenance import collect

    collected = collect(Store.default(), dry_run=not delete)
    emit(as_json, collected.to_json(), *tables.collection(collected))


COMMANDS = (store,)
