"""`mlflow-dsver emulator …`: serve a vendor's API on this machine until stopped."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlflow_dsver import plugins
from mlflow_dsver.emulators.faults import KINDS
from mlflow_dsver.terminal import render
from mlflow_dsver.terminal.output import emit

if TYPE_CHECKING:
    from mlflow_dsver.emulators.serving import Emulator, Switch


class _Emulators(click.Group):
    """A command for each installed provider with an emulator, created when it is named or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the providers."""
        return [name for name, info in plugins.provider_infos().items() if info.emulator]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; None when there is none."""
        info = plugins.provider_infos().get(cmd_name)
        return _command(cmd_name, info.title, plugins.load(info.emulator)) if info and info.emulator else None


@click.group(cls=_Emulators)
def emulator() -> None:
    """Serve a vendor's API on this machine, for tests and demos.

    Emulators follow the vendors' published documents and were not compared with the live services.

    \b
    Examples:
      mlflow-dsver emulator --help
    """


def _command(name: str, vendor: str, emulator_class: type[Emulator]) -> click.Command:
    @click.command(
        name,
        help=f"""Serve {vendor}'s API on loopback until stopped.

        Prints the address, and the variables that point a client there. The state is in memory unless --state names
        a file.

        \b
        Examples:
          mlflow-dsver emulator {name} --port 8765 --seed demo
          mlflow-dsver emulator {name} --list
          mlflow-dsver emulator {name} --fault 429:retry-after=2:times=3
        """,
    )
    @click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; a free one by default.")
    @_own_options(emulator_class)
    @click.option("--seed", type=click.Choice(["demo"]), help="Begin with some datasets and versions.")
    @click.option("--key", help="The only key that is good; any is by default. Never a real one.")
    @click.option("--switch", "switches", multiple=True, metavar="NAME=SETTING", help="Answer an open question so.")
    @click.option("--fault", "faults", multiple=True, metavar="KIND[:OPTION=VALUE]", help="Let requests go wrong.")
    @click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Keep the state in this file.")
    @click.option("--list", "only_list", is_flag=True, help="List switches and faults, and end.")
    def serve(
        port: int,
        seed: str | None,
        key: str | None,
        switches: tuple[str, ...],
        faults: tuple[str, ...],
        state: Path | None,
        only_list: bool,
        **more: Any,
    ) -> None:
        if only_list:
            _show_choices(emulator_class)
            return
        chosen = dict(_pair(text) for text in switches)
        make: Callable[..., Emulator] = emulator_class  # each takes options of its own
        _serve(make(port=port, key=key, seed=seed == "demo", switches=chosen, faults=faults, state=state, **more))

    return serve


def _own_options(emulator_class: type[Emulator]) -> Callable[[Any], Any]:
    """Add the options of this emulator."""

    def add(command: Any) -> Any:
        for name, option in emulator_class.OPTIONS.items():
            command = click.option(f"--{name}", type=click.IntRange(*option.numbers), help=option.help)(command)
        return command

    return add


def _serve(emulator: Emulator) -> None:
    """Serve until SIGINT or SIGTERM. A signal that was ignored at the start (nohup, `&`) stays ignored."""
    from mlflow_dsver.emulators.serving import NOT_COMPARED

    over = _until_signal()
    with emulator:
        print(f"{emulator.name} emulator on {emulator.address}. {NOT_COMPARED}", file=sys.stderr)
        for name, value in emulator.variables.items():
            print(f"export {name}={value}")
        for note in emulator.notes:
            print(note, file=sys.stderr)
        print("Ctrl-C stops it.", file=sys.stderr)
        sys.stdout.flush()
        over.wait()


def _until_signal() -> threading.Event:
    """An event that SIGINT or SIGTERM sets."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: over.set())
    return over


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--switch {render.cell(text)} is not NAME=SETTING.")
    return name, value


def _show_choices(emulator_class: type[Emulator]) -> None:
    switches = [
        (each.name, each.settings[0], ", ".join((*each.settings[1:], *_numbers(each))), each.question)
        for each in emulator_class.SWITCHES
    ]
    faults = [(name, meaning) for name, meaning in KINDS.items()]
    emit(
        False,
        None,
        render.table("SWITCH DEFAULT OTHERS QUESTION", switches, empty="no switches"),
        render.line(""),
        render.table("FAULT MEANING", faults, empty="no faults"),
    )


def _numbers(switch: Switch) -> tuple[str, ...]:
    return (f"{switch.numbers[0]} to {switch.numbers[1]}",) if switch.numbers else ()


COMMANDS = (emulator,)
