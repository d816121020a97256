"""Writes to the terminal: tables for people, JSON for programs, one line for an error, a progress bar.

Text from outside (names, tags, messages, paths) reaches a terminal only through here: control characters are shown
as escapes and no markup is read. Colours and folding are for terminals; in a pipe there are none, and `NO_COLOR` is
respected. JSON is ASCII, so that it is safe to look at as well.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn, TypeVar, cast

import click

from mlflow_dsver import settings
from mlflow_dsver.terminal.render import Block, Fields, Lines
from mlflow_dsver.text import one_line

PROGRAM = "mlflow-dsver"
PIPE_CLOSED = 141
"""Exit code when the reader of our output went away, as shells have it."""

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """The option `--json`, the same for every command that shows something."""
    return click.option("--json", "as_json", is_flag=True, help="Write JSON, for programs.")(command)


def workspace_options(command: Command) -> Command:
    """The options `--workspace` and `--all-workspaces`, as the argument `workspace`: a name, "*" for all, or None."""

    @wraps(command)
    def with_workspace(*arguments: Any, workspace: str | None, all_workspaces: bool, **named: Any) -> Any:
        if workspace is not None and all_workspaces:
            raise click.UsageError("--workspace names one; it does not go with --all-workspaces.")
        return command(*arguments, workspace="*" if all_workspaces else workspace, **named)

    every = click.option("--all-workspaces", is_flag=True, help="Look in all workspaces that you may read.")
    one = click.option(
        "--workspace", metavar="NAME", help="Look in this workspace of MLflow; default: the active one."
    )
    return cast(Command, one(every(with_workspace)))


def read_metadata(text: str | None) -> dict[str, Any] | None:
    """The value of the option `--metadata`; None without it. Raises UsageError for anything but a JSON object."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise click.UsageError("--metadata is not a JSON object, such as '{\"round\": 3}'.")
    return value


def emit(as_json: bool, data: object, *blocks: Block) -> None:
    """Write the data as JSON, or the blocks as text."""
    try:
        if as_json:
            sys.stdout.write(json.dumps(data, indent=2))
            sys.stdout.write("\n")  # a separate write: an unbuffered stream raises only now when its reader has gone
        else:
            for block in blocks:
                _write(block)
        sys.stdout.flush()
    except BrokenPipeError:
        leave_quietly()


def print_error(text: str) -> None:
    """Write one line to standard error; if that fails too, only the exit code reports the error."""
    if not sys.stderr:  # closed; `print` would write to standard output instead
        return
    try:
        print(f"{PROGRAM}: {one_line(text, 2000)}", file=sys.stderr)
    except OSError:
        pass


def leave_quietly() -> NoReturn:
    """End because the reader of our output went away, without a complaint at the interpreter's end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(PIPE_CLOSED)


@contextmanager
def counted(label: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar for things that are counted: yields a function to call for each one that is done.

    On standard error, and removed when the block ends. Silent when that is no terminal, when there is one thing or
    none, or when the setting PROGRESS is `no`.
    """
    if total < 2 or not sys.stderr.isatty() or settings.setting("PROGRESS") in ("no", "0", "off", "false"):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as display:
        task = display.add_task(label, total=total)
        yield lambda: display.advance(task)


def _write(block: Block) -> None:
    if isinstance(block, Lines):
        for line in block.lines:
            sys.stdout.write(line + "\n")
    elif isinstance(block, Fields):
        _write_grid(block.pairs, header=None)
    elif block.rows:
        _write_grid(block.rows, header=block.columns, right=block.right)
    else:
        sys.stdout.write(block.empty + "\n")


def _write_grid(
    rows: Iterable[tuple[str, ...]], *, header: tuple[str, ...] | None, right: frozenset[str] = frozenset()
) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    people = sys.stdout.isatty()
    console = Console(
        file=sys.stdout, width=None if people else 1_000_000, highlight=False, markup=False, emoji=False
    )
    grid = RichTable(box=None, show_header=header is not None, pad_edge=False, padding=(0, 2, 0, 0))
    rows = list(rows)
    for number in range(len(rows[0]) if rows else 0):
        name = header[number] if header else ""
        style = "bold" if header is None and number == 0 else None
        grid.add_column(name, overflow="fold", style=style, justify="right" if name in right else "left")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    with console.capture() as captured:
        console.print(grid)
    sys.stdout.writelines(line.rstrip(" ") + "\n" for line in captured.get().splitlines())
