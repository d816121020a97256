"""What the command line lends to a provider's commands: resolved versions are forgotten, runs are looked up.

A provider cannot import the modules that do this, since they are built on providers. `mlflow-dsver` hands them in as
click's context object, and a command asks for it:

    @click.command()
    @click.argument("reference")
    @pass_services
    def publish(services: Services, reference: str) -> None: ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import click

from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import PROGRAM, print_error
from mlflow_dsver.text import human_count

SHOWN = 5
COUNTED = 100
"""Maximum runs that are counted; for more, the output says that there are more."""


@dataclass(frozen=True, slots=True)
class Users:
    """Ids of runs that use something, newest first; more: there are others. unchecked: why MLflow could not tell.

    models: the models that were made from it, as `name version 3`.
    """

    runs: tuple[str, ...] = ()
    more: bool = False
    unchecked: str | None = None
    models: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        found: dict[str, Any] = {"runs": list(self.runs), "more_runs": self.more, "runs_unchecked": self.unchecked}
        return found | ({"models": list(self.models)} if self.models else {})


def _nobody_asked(ref: DatasetRef) -> Users:
    return Users(unchecked="the command was not started by mlflow-dsver")


@dataclass(frozen=True, slots=True)
class Services:
    """Functions that are handed to commands.

    forget: call it with a version or dataset that a command changed; answers that this host keeps about the
    dataset's tags and `latest` are dropped. users: the runs that use a version, or any version of a dataset.
    """

    forget: Callable[[DatasetRef], None] = field(default=lambda ref: None)
    users: Callable[[DatasetRef], Users] = field(default=_nobody_asked)

    def confirm_deletion(self, ref: DatasetRef, what: str, *, yes: bool) -> Users:
        """Show which runs use what will be deleted, and ask on a terminal unless `yes`; what: its description.

        Raises UsageError when the user declines, and without a terminal.
        """
        users = self.users(ref)
        _say(ref, users)
        if not yes and not _agreed(ref, what):
            raise click.UsageError("Nothing was deleted: answer y on a terminal, or give --yes.")
        return users


pass_services = click.make_pass_decorator(Services, ensure=True)
"""Decorator of a command: its first argument is the `Services` that the command line handed in."""


def _say(ref: DatasetRef, users: Users) -> None:
    if users.unchecked is not None:
        print_error(f"whether runs use {ref} could not be checked: {users.unchecked}")
    elif users.runs:
        some = ", ".join(users.runs[:SHOWN]) + (", …" if len(users.runs) > SHOWN or users.more else "")
        count = f"more than {COUNTED} runs" if users.more else human_count(len(users.runs), "run")
        verb = "uses" if len(users.runs) == 1 and not users.more else "use"
        print_error(f"{count} {verb} {ref}: {some}. Their records stay, and can no longer be checked against it")
    if users.models:
        some = ", ".join(users.models[:SHOWN]) + (", …" if len(users.models) > SHOWN else "")
        was = "was" if len(users.models) == 1 else "were"
        print_error(f"{human_count(len(users.models), 'model')} {was} made from {ref}: {some}")


def _agreed(ref: DatasetRef, what: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{PROGRAM}: {render.cell(ref)}, {render.cell(what)}", file=sys.stderr)
    return click.confirm("Delete it?", default=False, err=True)
