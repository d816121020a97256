"""`mlflow-dsver lock`: write, move and check the lock file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit, json_option
from mlflow_dsver.text import human_count, one_line

if TYPE_CHECKING:
    from mlflow_dsver.checks.lock_check import Change, LockReport
    from mlflow_dsver.resolution.lock_file import LockEntry


@click.command()
@click.argument("roles", nargs=-1, metavar="[ROLE]...")
@click.option("--input", "inputs", multiple=True, metavar="ROLE=REFERENCE", help="Lock this input; may be repeated.")
@click.option(
    "--update", "action", flag_value="update", help="Update the roles to the current versions of their references."
)
@click.option("--remove", "action", flag_value="remove", help="Remove the roles from the file.")
@click.option("--check", "action", flag_value="check", help="Write nothing; compare the file with the providers.")
@click.option("--no-ask", is_flag=True, help="With --check: query no provider, check only the file.")
@click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The lock file; otherwise the nearest dsver.lock, here or above, in the same git repository.",
)
@json_option
def lock(
    roles: tuple[str, ...],
    inputs: tuple[str, ...],
    action: str | None,
    no_ask: bool,
    path: Path | None,
    as_json: bool,
) -> int | None:
    """Write, update and check the file dsver.lock: the version of each input.

    The file is meant to be reviewed and committed. Without --input, the inputs of MLFLOW_DSVER_INPUTS are locked;
    without these, the file is shown. A locked role never changes by itself: if its reference now resolves to another
    version, the command fails with exit code 1. --update changes it and shows the difference, for the given ROLEs,
    those of --input, or all.

    Exit codes of --check: 0 every input still resolves to the same version and content, 1 there are findings, 3 a
    provider could not be reached.

    \b
    Examples:
      mlflow-dsver lock --input training=local://digits@latest --input validation=local://digits-val
      mlflow-dsver lock
      mlflow-dsver lock --check
      mlflow-dsver lock --update training
      mlflow-dsver lock --update --input training=local://digits@clean
      mlflow-dsver lock --remove validation
    """
    from mlflow_dsver.resolution.lock_file import find_lock

    path = path.absolute() if path else find_lock()
    if (no_ask and action != "check") or (roles and action not in ("update", "remove")):
        raise click.UsageError("--no-ask goes with --check; ROLE with --update or --remove.")
    if inputs and action in ("check", "remove"):
        raise click.UsageError(f"--input and --{action} exclude each other.")
    if action == "check":
        return _check(path, not no_ask, as_json)
    requested = _inputs(inputs, action)
    if action == "remove":
        _remove(path, roles, as_json)
    elif action == "update" or requested:
        _lock(path, requested, roles, action == "update", as_json)
    else:
        _show(path, as_json)
    return None


def _inputs(given: tuple[str, ...], action: str | None) -> dict[str, str]:
    """Role to reference: from the options; without any, and with nothing to move or remove, from INPUTS."""
    from mlflow_dsver.resolution.inputs import configured_inputs, parse_inputs

    if not given:
        return {} if action else configured_inputs()
    return parse_inputs(";".join(given), "--input")


def _show(path: Path, as_json: bool) -> None:
    from mlflow_dsver.model.json_values import to_json
    from mlflow_dsver.resolution.lock_file import path_exists, read_lock

    if not path_exists(path):
        raise click.UsageError(f"There is no {_short(path)} yet: give --input ROLE=REFERENCE.")
    entries = read_lock(path)
    data = {"file": str(path), "inputs": [to_json(each) for each in entries.values()]}
    emit(as_json, data, _table(entries))


def _check(path: Path, ask: bool, as_json: bool) -> int:
    from mlflow_dsver.checks.lock_check import check_lock

    report = check_lock(path, ask=ask)
    emit(as_json, report.to_json(), render.Lines(_report_lines(report)))
    return report.exit_code


def _remove(path: Path, roles: tuple[str, ...], as_json: bool) -> None:
    from mlflow_dsver.resolution.lock_file import read_lock

    if not roles:
        raise click.UsageError("Say which ROLE to remove.")
    before = read_lock(path)
    _known(before, roles)
    _write(path, before, {role: entry for role, entry in before.items() if role not in roles}, as_json)


def _lock(path: Path, requested: dict[str, str], roles: tuple[str, ...], update: bool, as_json: bool) -> None:
    """Resolve the references, plan the changes, write the file. On any error the file is unchanged."""
    from mlflow_dsver.checks.lock_check import cached_resolver, plan
    from mlflow_dsver.model.refs import parse
    from mlflow_dsver.resolution.lock_file import path_exists, read_lock

    before = read_lock(path) if path_exists(path) or update else {}
    _known({**before, **requested}, roles)
    if update:
        chosen = roles if roles or requested else tuple(before)
        requested = {role: before[role].requested for role in chosen if role in before} | requested
    ask = cached_resolver()
    resolutions = {role: ask(parse(text)) for role, text in requested.items()}
    _write(path, before, plan(path, before, requested, resolutions, requested if update else ()), as_json)


def _write(path: Path, before: Mapping[str, LockEntry], after: Mapping[str, LockEntry], as_json: bool) -> None:
    from mlflow_dsver.checks.lock_check import changes
    from mlflow_dsver.model.json_values import to_json
    from mlflow_dsver.resolution.lock_file import write_lock

    made = changes(before, after)
    write_lock(path, after)
    data = {
        "file": str(path),
        "changes": [each.to_json() for each in made],
        "inputs": [to_json(entry) for _, entry in sorted(after.items())],
    }
    states = f"{_short(path)}: {human_count(len(after), 'input')}{'' if made else ', nothing to change'}"
    emit(as_json, data, render.Lines(map(_change_line, made)), render.line(states))


def _known(known: Mapping[str, object], roles: tuple[str, ...]) -> None:
    for role in roles:
        if role not in known:
            raise click.UsageError(
                f"{one_line(role, 70)} is not locked; there is: {', '.join(sorted(known)) or '–'}."
            )


def _table(entries: Mapping[str, LockEntry]) -> render.Table:
    rows = ((each.role, each.requested, each.version, (each.content_digest or "")[:19]) for each in entries.values())
    return render.table("ROLE REQUESTED VERSION CONTENT", rows, empty="nothing is locked")


def _change_line(change: Change) -> str:
    from mlflow_dsver.checks.render import difference_summary

    old = change.before and one_line(change.before.version, 500)
    new = change.after and one_line(change.after.version, 500)
    text = f"{change.kind:<8}{change.role}  "
    if change.kind == "moved":
        text += f"{old} → {new}"
        seen = change.difference
        return f"{text}  {difference_summary(seen) if seen is not None else one_line(change.why_unknown, 300)}"
    if change.after is None:
        return text + str(old)
    return f"{text}{one_line(change.after.requested, 500)} is {new}"


def _report_lines(report: LockReport) -> Iterator[str]:
    """One line per input, prefixed with the file's name as linters do; then advice, or the totals."""
    from mlflow_dsver.checks.lock_check import State
    from mlflow_dsver.resolution.lock_file import command

    name = _short(report.path)
    if report.broken is not None:
        yield f"{name}: {one_line(report.broken, 1000)}"
        return
    for each in report.inputs:
        yield f"{name}: {each.entry.role}: {each.state}: {one_line(each.detail, 1000)}"
    counts = {state: sum(each.state is state for each in report.inputs) for state in State}
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    yield f"{name}: {human_count(len(report.inputs), 'input')}{': ' if listed else ''}{listed}"
    if moved := [each.entry.role for each in report.inputs if each.state is State.MOVED]:
        yield f"{name}: to move: {command(report.path, {}, moved, update=True)}"


def _short(path: Path) -> str:
    """The path relative to the working folder where it is below it."""
    folder = Path.cwd()
    return one_line(path.relative_to(folder) if path.is_relative_to(folder) else path, 300)


COMMANDS = (lock,)
