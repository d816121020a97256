"""`mlflow-dsver inputs`, `runs`, `attach` and `sync`: the links between runs and versions, shown and written."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import click

from mlflow_dsver.model.json_values import to_json
from mlflow_dsver.model.versions import Link
from mlflow_dsver.terminal.output import counted, emit, json_option, print_error, workspace_options
from mlflow_dsver.terminal.render import Lines, Table, line, named, table
from mlflow_dsver.text import human_bytes, one_line

if TYPE_CHECKING:
    from mlflow_dsver.tracking.bulk_attach import Outcome, State
    from mlflow_dsver.tracking.history import RunUse
    from mlflow_dsver.tracking.sync import Outcome as SyncOutcome

_HOPELESS = ""
"""The value of `--forget` without a value: drop what can never be sent."""


@click.command()
@click.argument("run")
@json_option
def inputs(run: str, as_json: bool) -> None:
    """Show which dataset versions a run used.

    For each: the role, and how much the link proves (its grade), those included that MLflow's own sources or another
    tool recorded exactly. Then the evaluation datasets of mlflow.genai among the inputs, whose content MLflow does
    not version, what others recorded without an exact version, and for a run that was watched, how many files its
    process read. MLflow is asked at MLFLOW_TRACKING_URI.

    \b
    Examples:
      mlflow-dsver inputs 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c
      mlflow-dsver inputs 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --json
    """
    from mlflow_dsver.tracking.history import all_inputs_of

    found = all_inputs_of(run)
    told = {
        "run_id": run,
        "inputs": [link.to_json() for link in found.links],
        "files_read": found.files_read,
        **({"recorded_elsewhere": found.inexact} if found.inexact else {}),
    }
    if found.evaluation_datasets:
        told["evaluation_datasets"] = [to_json(each) for each in found.evaluation_datasets]
    lines = [
        *(f"evaluation dataset of MLflow, no version: {each}" for each in found.evaluation_datasets),
        *(f"recorded by others, no exact version: {each}" for each in found.inexact),
        *([] if found.files_read is None else [found.files_read]),
    ]
    emit(as_json, told, links_table(found.links), *map(line, lines))


@click.command()
@click.argument("reference")
@click.option("--role", help="Only runs that used it in this role.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Maximum number of runs.")
@workspace_options
@json_option
def runs(reference: str, role: str | None, limit: int, workspace: str | None, as_json: bool) -> None:
    """Show which runs used a version.

    The newest runs of all experiments are first. A REFERENCE without a selector selects every version of the dataset;
    with a tag or latest, the version that it resolves to now. If the provider cannot resolve it, the runs that
    requested the same reference are shown, with a note on standard error.

    \b
    Examples:
      mlflow-dsver runs local://digits
      mlflow-dsver runs local://digits@clean --role training
      mlflow-dsver runs local://digits@3f9c2a7d11e05b64 --json
      mlflow-dsver runs local://digits --all-workspaces
    """
    from mlflow_dsver.tracking.history import runs_using

    uses = runs_using(reference, role=role, workspace=workspace)
    found = list(islice(uses, limit))
    more = next(uses, None) is not None
    result = {"reference": reference, "runs": [each.to_json() for each in found], "more": more, "note": uses.note}
    emit(as_json, result, runs_table(found))
    if uses.note:
        print_error(uses.note)
    if more:
        print_error(f"there are more: these are the newest {limit:,}; --limit shows others")


@click.command()
@click.argument("run", required=False)
@click.argument("reference", required=False)
@click.option("--role", default="training", show_default=True, help="What the run used the version for.")
@click.option("--from", "source", type=click.File("rb"), help="Attach the rows of this file; - is standard input.")
@click.option("--recorded", is_flag=True, help="Attach what MLflow or another tool recorded on RUN exactly.")
@json_option
def attach(
    run: str | None, reference: str | None, role: str, source: BinaryIO | None, recorded: bool, as_json: bool
) -> int | None:
    """Link a version to a run that has ended, or many versions to many runs.

    The grade gets the note `attached later`.

    With --recorded, the versions are those that the sources of MLflow itself, or the tags of another tool, name
    exactly on the run, each in its own role.

    A FILE has comma-separated values in UTF-8 under the header run_id,reference,role; the role is optional. All rows
    are checked before the first is attached, each reference is resolved once, and a row that fails does not stop the
    rest. Repeat the command to continue where it stopped.

    Exit code: 0 all are attached, 1 a run has another version in the role or does not exist, 2 the file has invalid
    rows and nothing was written, 3 something could not be reached.

    \b
    Examples:
      mlflow-dsver attach 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c local://digits@clean
      mlflow-dsver attach 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c local://digits-test --role test
      mlflow-dsver attach --from runs.csv --json
      mlflow-dsver attach 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c --recorded
    """
    if recorded:
        if run is None or reference is not None or source is not None:
            raise click.UsageError("--recorded goes with RUN alone.")
        from mlflow_dsver.tracking.api import attach_recorded

        links = [made.link for made in attach_recorded(run).values()]
        emit(as_json, {"run_id": run, "inputs": [link.to_json() for link in links]}, links_table(links))
        return None
    if source is not None:
        if run is not None:
            raise click.UsageError("--from names the runs; it does not go with RUN and REFERENCE.")
        return _attach_many(source, role, as_json)
    if run is None or reference is None:
        raise click.UsageError("Missing RUN and REFERENCE, or --from FILE.")
    from mlflow_dsver.tracking.api import attach as attach_to

    link = attach_to(run, reference, role).link
    emit(as_json, {"run_id": run, "inputs": [link.to_json()]}, links_table([link]))
    return None


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Show the entries; send no request, write nothing.")
@click.option(
    "--forget",
    metavar="[ID|RUN]",
    is_flag=False,
    flag_value=_HOPELESS,
    multiple=True,
    help="Drop the entries of this id or run, and send nothing; without a value, send, and drop what can never be "
    "sent: no such run, or another version on it.",
)
@json_option
def sync(only_list: bool, forget: tuple[str, ...], as_json: bool) -> int:
    """Send the links that could not be recorded, and confirm those made offline.

    Each link is stored on this host until it is recorded on its run. A killed process or an unreachable server
    leaves it in the outbox, and this command sends it. For a link that was made offline, the provider is requested:
    it confirms the grade, or the contradiction is written to the run. Entries of running processes are skipped. An
    entry that cannot be sent completely, for example because this host cannot write to the run's artifact location,
    stays until it can be sent or is dropped with --forget.

    Exit code: 0 everything is sent or confirmed, 1 something was contradicted or can never be sent, 3 something
    could not be reached or written and stays in the outbox.

    \b
    Examples:
      mlflow-dsver sync
      mlflow-dsver sync --list
      mlflow-dsver sync --forget --json
      mlflow-dsver sync --forget 3f9c2a7d
    """
    from mlflow_dsver.tracking import sync as outbox_sync

    if only_list and forget:
        raise click.UsageError("--list writes nothing; it does not go with --forget.")
    names = [name for name in forget if name != _HOPELESS]
    if only_list:
        found = list(outbox_sync.waiting())
    elif names:
        found = outbox_sync.forget(names)
    else:
        with counted("syncing", sum(1 for _ in outbox_sync.waiting())) as one_more:
            found = []
            for outcome in outbox_sync.sync(forget=bool(forget)):
                found.append(outcome)
                one_more()
    emit(as_json, {"outcomes": [each.to_json() for each in found]}, outcomes_table(found))
    return 0 if only_list else outbox_sync.exit_code([each.state for each in found])


def _attach_many(source: BinaryIO, role: str, as_json: bool) -> int:
    from mlflow_dsver.tracking import bulk_attach

    rows = bulk_attach.read(source, source.name, role)
    counts: Counter[bulk_attach.State] = Counter()
    shown_as_it_goes = sys.stdout.isatty() and not as_json
    with counted("attaching", 0 if shown_as_it_goes else len(rows)) as one_more:

        def outcomes() -> Iterator[bulk_attach.Outcome]:
            for outcome in bulk_attach.attach_all(rows):
                counts[outcome.state] += 1
                one_more()
                yield outcome

        if as_json:
            rows_json = [each.to_json() for each in outcomes()]
            emit(True, {"rows": rows_json, "counts": {str(state): count for state, count in counts.items()}})
        else:
            emit(False, None, Lines(_attached_lines(outcomes(), counts)))
    return bulk_attach.exit_code(counts)


def _attached_lines(outcomes: Iterator[Outcome], counts: Counter[State]) -> Iterator[str]:
    """One line per row as it is processed, then the number of each outcome."""
    for each in outcomes:
        row = each.row
        cells = (f"{each.state:13}", row.run_id, row.role, each.version or row.reference, each.detail)
        yield "  ".join(one_line(cell, 1000) for cell in cells).rstrip()
    yield ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "no rows"


def links_table(found: Iterable[Link]) -> Table:
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


def runs_table(found: Iterable[RunUse]) -> Table:
    """Runs that used a version, in the order given; with their workspaces where they have any."""
    uses = list(found)
    shown = any(each.workspace is not None for each in uses)
    return table(
        ("WORKSPACE " if shown else "") + "RUN NAME STARTED STATUS ROLE VERSION GRADE",
        (
            (
                *([each.workspace] if shown else []),
                each.run_id,
                each.run_name,
                each.started,
                each.status,
                each.role,
                named(each.ref, each.dataset_name),
                each.grade,
            )
            for each in uses
        ),
        empty="no run used this",
    )


def outcomes_table(found: Iterable[SyncOutcome]) -> Table:
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
    return table("ID OUTCOME RUN INPUTS SINCE DETAIL", rows, empty="nothing waits")


COMMANDS = (inputs, runs, attach, sync)
