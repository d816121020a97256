"""The command `mlflow-dsver`: its command groups and its error handling.

A command's function parses, calls the library and writes the result; it returns the exit code, None for 0. Errors are
converted to one line on standard error and an exit code here only: 0 success, 1 findings, 2 wrong usage, 3 could not
be done or checked. Slow imports are deferred until a command needs them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from mlflow_dsver import plugins
from mlflow_dsver._version import __version__
from mlflow_dsver.cli import checks, compare, demo, emulator, holds, info, lineage, lock, runs, store, versions
from mlflow_dsver.cli.failures import guarded
from mlflow_dsver.cli.run import COMMANDS as LAUNCHER
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.terminal.output import PROGRAM
from mlflow_dsver.terminal.services import Services
from mlflow_dsver.text import IS_UTF8, text_of


class _Commands(click.Group):
    """The package's commands, and those of installed providers, which are imported when they are named or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, sorted."""
        return sorted({*self.commands, *_provider_commands()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None when there is none."""
        if cmd_name not in self.commands:
            target = _provider_commands().get(cmd_name)
            if target is None:
                return None
            self.add_command(_imported(cmd_name, target), cmd_name)
        return self.commands[cmd_name]


def _provider_commands() -> dict[str, str]:
    return {name: target for info in plugins.provider_infos().values() for name, target in info.commands.items()}


def _imported(name: str, target: str) -> click.Command:
    """A provider's command; where it cannot be imported, a placeholder whose help and error state the reason."""
    try:
        command = plugins.load(target)
        if not isinstance(command, click.Command):
            raise SettingsError(f"{target} is no click command")
    except SettingsError as error:
        problem = error

        def fail() -> NoReturn:
            raise problem

        return click.Command(name, callback=fail, help=f"Cannot be used: {error}")
    if not IS_UTF8:
        _read_as_utf8(command)
    return command


def _forget(ref: DatasetRef) -> None:
    from mlflow_dsver.resolution.resolution_cache import invalidate

    invalidate(ref)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Which dataset version a training run used: keep versions, link them to MLflow runs, look both up.

    A reference is provider://dataset[@selector], such as local://digits@latest; the selector is a version's
    id, a tag or latest.

    \b
    Examples:
      mlflow-dsver demo
      mlflow-dsver versions create local://digits data/digits --message "first labels"
      mlflow-dsver versions list local://digits
      mlflow-dsver inputs RUN_ID
      mlflow-dsver runs local://digits@latest
      mlflow-dsver doctor

    Exit codes: 0 all well, 1 there are findings, 2 wrong usage, 3 could not be done or checked.
    """


for each in (
    *versions.COMMANDS,
    *runs.COMMANDS,
    *checks.COMMANDS,
    *compare.COMMANDS,
    *store.COMMANDS,
    *info.COMMANDS,
    *demo.COMMANDS,
    *emulator.COMMANDS,
    *lineage.COMMANDS,
    *lock.COMMANDS,
    *holds.COMMANDS,
    *LAUNCHER,
):
    cli.add_command(each)


class _Text(click.types.StringParamType):
    """A string, decoded as UTF-8 in any locale; paths and commands to run keep their original bytes."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as text."""
        return text_of(super().convert(value, param, ctx))


def _read_as_utf8(command: click.Command) -> None:
    """Make a command and its subcommands decode strings as UTF-8, in locales that use another encoding."""
    for parameter in command.params:
        if parameter.type is click.STRING:
            parameter.type = _Text()
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _read_as_utf8(below)


if not IS_UTF8:
    _read_as_utf8(cli)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code. arguments: None for those of this process."""
    return guarded(
        lambda: cli.main(
            arguments, PROGRAM, standalone_mode=False, obj=Services(forget=_forget, users=versions.users_of)
        )
    )
