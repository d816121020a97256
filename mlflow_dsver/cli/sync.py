"""`mlflow-dsver sync`: sends records that were not logged because a process was killed or the server was down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import counted, emit, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlflow_dsver.tracking.sync import Outcome


HOPELESS = ""
"""`--forget` without a value."""


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Show what waits; ask nobody, write nothing.")
@click.option(
    "--forget",
    metavar="[ID|RUN]",
    is_flag=False,
    flag_value=HOPELESS,
    multiple=True,
    help="Drop the entries of this id or run, and send nothing; without a value, send, and drop what can never be "
    "sent: no such run, or another version on it.",
)
@json_option
def sync(only_list: bool, forget: tuple[str, ...], as_json: bool) -> int:
    """Send the links that could not be recorded, and confirm those made offline.

    What a run is to be linked to is kept on this host until it stands on the run; a kill or a server that was
    gone leaves it there, and this sends it, once. For a link that was made offline the provider is asked: its
    grade is then confirmed, or the run says what contradicts it. What running processes are still recording is
    left alone. What cannot be sent, or not whole since the run's artifact location cannot be written to from here,
    is kept until it can, or is forgotten.

    Exit code: 0 all is sent or confirmed, 1 something was contradicted or cannot be sent, 3 something cannot be
    reached or written and waits on.

    \b
    Examples:
      mlflow-dsver sync
      mlflow-dsver sync --list
      mlflow-dsver sync --forget --json
      mlflow-dsver sync --forget 3f9c2a7d
    """
    from mlflow_dsver.tracking import sync as sending

    if only_list and forget:
        raise click.UsageError("--list writes nothing; it does not go with --forget.")
    named = [name for name in forget if name != HOPELESS]
    if only_list:
        found = list(sending.waiting())
    elif named:
        found = sending.forget(named)
    else:
        with counted("syncing", sum(1 for _ in sending.waiting())) as one_more:
            found = []
            for outcome in sending.sync(forget=bool(forget)):
                found.append(outcome)
                one_more()
    emit(as_json, {"outcomes": [each.to_json() for each in found]}, outcomes(found))
    return 0 if only_list else sending.exit_code([each.state for each in found])


def outcomes(found: Iterable[Outcome]) -> render.Table:
    """The outcome of each entry, one per line."""
    rows = (
        (
            each.id,
            each.state,
            each.entry.run_id if each.entry else None,
            [f"{link.role}={link.version.ref}" for link in each.entry.links] if each.entry else None,
            each.entry.created if each.entry else None,
            each.detail if each.entry else f"{each.path}: {each.detail}",
        )
        for each in found
    )
    return render.table("ID OUTCOME RUN INPUTS SINCE DETAIL", rows, empty="nothing waits")


COMMANDS = (sync,)
