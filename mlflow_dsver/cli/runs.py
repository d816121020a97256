"""`mlflow-dsver inputs`, `runs` and `attach`: from a run to the versions it used, and back."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

import click

from mlflow_dsver.cli import tables
from mlflow_dsver.terminal.output import counted, emit, json_option, print_error
from mlflow_dsver.terminal.render import Lines
from mlflow_dsver.text import one_line

if TYPE_CHECKING:
    from mlflow_dsver.tracking.bulk_attach import Outcome, State


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
    emit(as_json, {"run_id": run, "inputs": [link.to_json() for link in found]}, tables.links(found))


@click.command()
@click.argument("reference")
@click.option("--role", help="Only runs that used it in this role.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most that many.")
@json_option
def runs(reference: str, role: str | None, limit: int, as_json: bool) -> None:
    """Show which runs used a version.

    The newest runs first, over all experiments, however they were linked. A REFERENCE without a selector means every
    version of the dataset; with a tag or latest, the version that this means now. Where the provider cannot say what
    it means, the runs that asked for the same words are shown, and a line on standard error says so.

    \b
    Examples:
      mlflow-dsver runs local://digits
      mlflow-dsver runs local://digits@clean --role training
      mlflow-dsver runs local://digits@3f9c2a7d11e05b64 --json
    """
    from mlflow_dsver.tracking.history import runs_using

    uses = runs_using(reference, role=role)
    found = list(islice(uses, limit))
    more = next(uses, None) is not None
    told = {"reference": reference, "runs": [each.to_json() for each in found], "more": more, "note": uses.note}
    emit(as_json, told, tables.runs(found))
    if uses.note:
        print_error(uses.note)
    if more:
        print_error(f"there are more: these are the newest {limit:,}; --limit shows others")


@click.command()
@click.argument("run", required=False)
@click.argument("reference", required=False)
@click.option("--role", default="training", show_default=True, help="What the run used the version for.")
@click.option("--from", "source", type=click.File("rb"), help="Attach what this file of rows names; - is stdin.")
@json_option
def attach(run: str | None, reference: str | None, role: str, source: BinaryIO | None, as_json: bool) -> int | None:
    """Link a version to a run that is over, or many versions to many runs.

    The grade then says `attached later`.

    A FILE has comma-separated values in UTF-8 under the header run_id,reference,role; the role may be left out.
    All rows are checked before the first is attached, each reference is resolved once, and a row that fails does
    not stop the rest. The same command again goes on where it stopped.

    Exit code: 0 all are attached, 1 a run has another version in the role or does not exist, 2 the file has bad
    rows and nothing was written, 3 something could not be reached.

    \b
    Examples:
      mlflow-dsver attach 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c local://digits@clean
      mlflow-dsver attach 0b8a4f6f8c1e4a0e9c2d7b5a3e1f0d9c local://digits-test --role test
      mlflow-dsver attach --from runs.csv --json
    """
    if source is not None:
        if run is not None:
            raise click.UsageError("--from names the runs; it does not go with RUN and REFERENCE.")
        return _attach_many(source, role, as_json)
    if run is None or reference is None:
        raise click.UsageError("Missing RUN and REFERENCE, or --from FILE.")
    from mlflow_dsver.tracking.api import attach as attach_to

    link = attach_to(run, reference, role).link
    emit(as_json, {"run_id": run, "inputs": [link.to_json()]}, tables.links([link]))
    return None


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
            told = [each.to_json() for each in outcomes()]
            emit(True, {"rows": told, "counts": {str(state): count for state, count in counts.items()}})
        else:
            emit(False, None, Lines(_attached_lines(outcomes(), counts)))
    return bulk_attach.exit_code(counts)


def _attached_lines(outcomes: Iterator[Outcome], counts: Counter[State]) -> Iterator[str]:
    """One line per row as it is processed, then the number of each outcome."""
    for each in outcomes:
        row = each.row
        words = (f"{each.state:13}", row.run_id, row.role, each.version or row.reference, each.detail)
        yield "  ".join(one_line(word, 1000) for word in words).rstrip()
    yield ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items())) or "no rows"


COMMANDS = (inputs, runs, attach)
