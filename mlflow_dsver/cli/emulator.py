"""`mlflow-dsver emulator …`: serve a vendor's API on this machine until stopped."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from mlflow_dsver.cli import render
from mlflow_dsver.cli.output import emit
from mlflow_dsver.emulators.faults import KINDS

_CLASSES = {
    "clarifai": "mlflow_dsver.providers.clarifai.emulator:ClarifaiEmulator",
    "paperspace": "mlflow_dsver.providers.paperspace.emulator:PaperspaceEmulator",
}


@click.group()
def emulator() -> None:
    """Serve a vendor's API on this machine, for tests, demos and trying things out.

    Emulators follow the vendors' published documents and were not compared with the live services.

    \b
    Examples:
      mlflow-dsver emulator paperspace --port 8765 --seed demo
      mlflow-dsver emulator paperspace --list
      mlflow-dsver emulator paperspace --switch tag-moves=stays --fault 429:retry-after=2:times=3
    """


def _command(name: str, attribute: str) -> click.Command:
    vendor = name.capitalize()

    @click.command(
        name,
        help=f"""Serve {vendor}'s API on loopback until stopped.

        Prints the address, and the variables that point a client there. The state is in memory unless --state names
        a file.

        \b
        Examples:
          mlflow-dsver emulator {name} --port 8765 --seed demo
          mlflow-dsver emulator {name} --list
        """,
    )
    @click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port; a free one by default.")
    @_grpc_option(name)
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
        module, _, attribute_name = attribute.partition(":")
        made: Callable[..., Any] = getattr(import_module(module), attribute_name)
        if only_list:
            _show_choices(made)
            return
        chosen = dict(_pair(text) for text in switches)
        _serve(made(port=port, key=key, seed=seed == "demo", switches=chosen, faults=faults, state=state, **more))

    return serve


def _grpc_option(name: str) -> Callable[[Any], Any]:
    """`--grpc-port`, for the vendor whose own client speaks gRPC."""
    if name != "clarifai":
        return lambda command: command
    return click.option(
        "--grpc-port", type=click.IntRange(0, 65535), help="Serve gRPC as well, there; 0: a free port. For their SDK."
    )


def _serve(emulator: Any) -> None:
    """Serve until SIGINT or SIGTERM; whoever started this with one of them ignored (nohup, `&`) wants it ignored."""
    from mlflow_dsver.emulators.serving import NOT_COMPARED

    over = _until_signal()
    with emulator:
        print(f"{emulator.name} emulator on {emulator.address}. {NOT_COMPARED}", file=sys.stderr)
        for name, value in emulator.variables.items():
            print(f"export {name}={value}")
        if getattr(emulator, "grpc_address", None):
            print(f"gRPC on {emulator.grpc_address}: what Clarifai's own client takes as its base.", file=sys.stderr)
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


def _show_choices(made: Any) -> None:
    switches = [
        (each.name, each.settings[0], ", ".join((*each.settings[1:], *_numbers(each))), each.question)
        for each in made.SWITCHES
    ]
    faults = [(name, meaning) for name, meaning in KINDS.items()]
    emit(
        False,
        None,
        render.table("SWITCH DEFAULT OTHERS QUESTION", switches, empty="no switches"),
        render.line(""),
        render.table("FAULT MEANING", faults, empty="no faults"),
    )


def _numbers(switch: Any) -> tuple[str, ...]:
    return (f"{switch.numbers[0]} to {switch.numbers[1]}",) if switch.numbers else ()


for _name, _attribute in _CLASSES.items():
    emulator.add_command(_command(_name, _attribute))

COMMANDS = (emulator,)
