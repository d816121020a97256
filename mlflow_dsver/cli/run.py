"""`mlflow-dsver run`: starts a command whose processes all use the same resolved versions.

References are resolved once, here; the child processes read the resolutions from their environment instead of
querying a provider. The command replaces this process (`exec`) where the system supports that, so that input, output,
exit code, signals and job control are the command's own; on Windows this process waits for it and returns its exit
code.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NoReturn

import click

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InvalidArgument, InvalidReference
from mlflow_dsver.model.new_versions import NewVersion, parse_new
from mlflow_dsver.model.refs import check_role, parse
from mlflow_dsver.resolution import inputs as outside
from mlflow_dsver.resolution.creation import create_once
from mlflow_dsver.resolution.resolver import Resolution, query_provider
from mlflow_dsver.terminal.output import print_error
from mlflow_dsver.text import one_line

CANNOT_RUN, NOT_THERE = 126, 127
"""Exit codes for a command that cannot be started, by the convention of shells."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--input", "inputs", multiple=True, metavar="ROLE=REFERENCE", help="Link all runs to this version.")
@click.option("--create", multiple=True, metavar="ROLE=FOLDER", help="Make a version of FOLDER first, and use it.")
@click.option("--frozen", is_flag=True, help="Start nothing unless all inputs are as dsver.lock says.")
@click.option(
    "--on-error",
    type=click.Choice(["raise", "warn", "offline"]),
    help="When a reference cannot be resolved: start nothing, start without it, or take its last known version.",
)
@click.option(
    "--params",
    type=click.Choice(["full", "short", "none"]),
    help="Log a link as params too, in full or its version alone; without, in tags, dataset inputs and artifacts.",
)
@click.option(
    "--override",
    multiple=True,
    metavar="ROLE=REFERENCE",
    help="Use this version instead of the one that the script requests.",
)
@click.option("--watch", is_flag=True, help="At the end of each run, say which files read are of no linked version.")
@click.option("--fresh", is_flag=True, help="Ask again for what a launcher above this one has resolved already.")
@click.option("--quiet", is_flag=True, help="Do not say which versions are used.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    inputs: tuple[str, ...],
    create: tuple[str, ...],
    frozen: bool,
    on_error: settings.OnError | None,
    params: settings.LoggedParams | None,
    override: tuple[str, ...],
    watch: bool,
    fresh: bool,
    quiet: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND with all its runs linked to the same versions.

    References are resolved once, before COMMAND starts; all its child processes use the result: ranks of a
    distributed job, workers, sweeps. Inputs in MLFLOW_DSVER_INPUTS are added, and --input takes precedence; without
    any, those of dsver.lock are used. Inside another `mlflow-dsver run`, its resolutions are used.

    Input, output, signals and exit code are COMMAND's own. 127: there is no such command; 126: it cannot be run.

    \b
    Examples:
      mlflow-dsver run --input training=local://digits@latest -- python train.py --epochs 3
      mlflow-dsver run --input training=local://digits --create training=data/digits -- torchrun train.py
      mlflow-dsver run --input 'training=service://cats?create&message=round 3' -- python train.py
      mlflow-dsver run --frozen -- python train.py
      mlflow-dsver run --override training=local://digits@3f9c2a7d11e05b64 -- python train.py
      mlflow-dsver run --watch -- python train.py
    """
    frozen = frozen or settings.switch("FROZEN", default=False)
    overrides = outside.configured_overrides() | _parsed(override, "--override")
    requested = _with_folders(create, _requested_inputs(inputs, frozen), overrides)
    effective = requested | overrides
    if not effective and not watch:
        raise click.UsageError("Nothing to link: give --input ROLE=REFERENCE.")
    if frozen and any(map(parse_new, effective.values())):
        raise click.UsageError("--frozen takes only versions in dsver.lock, and this asks for a new one.")
    above = _inherited_resolutions()
    resolutions = {} if fresh else dict(above)
    _resolve(effective, resolutions, "raise" if frozen else on_error or settings.on_error())
    found = {role: resolutions[text] for role, text in effective.items() if text in resolutions}
    variables = _variables(requested, found, above | resolutions)
    if override:
        variables["OVERRIDE"] = outside.format_inputs(overrides)
    if on_error:
        variables["ON_ERROR"] = on_error
    if watch and not settings.watched_folders():
        variables["WATCH"] = "yes"
    if params:
        variables["PARAMS"] = params
    if frozen:
        variables |= _as_locked(effective, found)
    if not quiet:
        _say(effective, found)
    _become(command, {settings.PREFIX + name: value for name, value in variables.items()})


def _requested_inputs(options: Sequence[str], frozen: bool) -> dict[str, str]:
    """Role to reference: from the setting, overridden by the options; without any, from the lock file."""
    requested = outside.configured_inputs() | _parsed(options, "--input")
    if requested:
        return requested
    from mlflow_dsver.resolution.lock_file import find_lock, read_lock

    path = find_lock()
    return {role: entry.requested for role, entry in read_lock(path).items()} if frozen or path.exists() else {}


def _parsed(options: Sequence[str], name: str) -> dict[str, str]:
    return outside.parse_inputs(";".join(options), name)


def _with_folders(
    options: Sequence[str], requested: Mapping[str, str], overrides: Mapping[str, str]
) -> dict[str, str]:
    """The references, with a new version in place of the dataset that `--create ROLE=FOLDER` names."""
    given: dict[str, str] = {}
    for option in options:
        role, equals, folder = option.partition("=")
        if not equals or not folder:
            raise InvalidArgument("--create", expected="ROLE=FOLDER", got=f"'{one_line(option, 80)}'")
        if check_role(role) in given:
            raise InvalidArgument(f"--create: the role {role} is named twice")
        if role not in requested:
            raise InvalidArgument("--create", expected=f"the dataset of {role}", tip=f"--input {role}=local://…")
        if role in overrides:
            raise InvalidArgument(f"--create: another version is put in the place of {role} by an override")
        if parse_new(requested[role]):
            raise InvalidArgument(f"--create: --input asks for a new version of {role} already")
        given[role] = str(NewVersion(requested[role], folder))
    return {**requested, **given}


def _inherited_resolutions() -> dict[str, Resolution]:
    """Resolutions inherited from a parent launcher, by the text of the reference."""
    offline = outside.inherited_offline()
    return {text: Resolution(version, text in offline) for text, version in outside.inherited_versions().items()}


def _resolve(requested: Mapping[str, str], resolutions: dict[str, Resolution], policy: settings.OnError) -> None:
    """Add the missing resolutions; under a policy other than `raise`, skip those that fail, with a warning.

    New versions are created first, so that other references to their datasets resolve to them.
    """
    for role, text in sorted(requested.items(), key=lambda each: parse_new(each[1]) is None):
        resolved = next((resolutions[words] for words in outside.spellings(text) if words in resolutions), None)
        try:
            resolutions[text] = resolved or _answer(text, policy)
        except InvalidReference:
            raise
        except DsverError as error:
            if policy == "raise":
                raise
            print_error(f"{role} is left out: {error}")
            continue
        new = parse_new(text)
        if new is not None and resolved is None:
            resolutions[str(new)] = resolutions[str(new.dataset)] = resolutions[text]


def _answer(text: str, policy: settings.OnError) -> Resolution:
    """The provider's resolution; under the policy `offline` the last known one, if the provider cannot be reached."""
    new = parse_new(text)
    if new is not None:
        return Resolution(create_once(new))
    found = query_provider(text, offline=policy == "offline", job="launcher resolved")
    if found.unreached is not None:
        print_error(f"{parse(text).provider} cannot be reached: {found.unreached}")
    return found


def _variables(
    requested: Mapping[str, str], found: Mapping[str, Resolution], resolutions: Mapping[str, Resolution]
) -> dict[str, str]:
    """The settings for the command, by name without the prefix. A role without a resolution is left out."""
    variables = {}
    if requested:
        variables["INPUTS"] = outside.format_inputs({role: text for role, text in requested.items() if role in found})
    if resolutions:
        variables["RESOLVED"] = outside.serialize_resolved(
            {text: each.version for text, each in resolutions.items()},
            [text for text, each in resolutions.items() if each.offline],
        )
    return variables


def _as_locked(requested: Mapping[str, str], found: Mapping[str, Resolution]) -> dict[str, str]:
    """The settings that make child processes use the lock file. Raises LockConflict when a version differs."""
    from mlflow_dsver.resolution.lock_file import find_lock, refuse_moved

    path = find_lock()
    refuse_moved(requested, {role: each.version for role, each in found.items()}, path)
    return {"FROZEN": "1", "LOCK": str(path)}


def _say(requested: Mapping[str, str], found: Mapping[str, Resolution]) -> None:
    lines = []
    for role, each in found.items():
        text = "" if requested[role] == str(each.version.ref) else f" ({one_line(requested[role])})"
        since = "" if each.since is None else f" of {each.since:%Y-%m-%d %H:%M} UTC"
        lines.append(
            f"{role} is {each.version.ref}{text}" + (f", the last known answer{since}" if each.offline else "")
        )
    if lines:
        print_error("; ".join(lines))


def _become(command: tuple[str, ...], variables: Mapping[str, str]) -> NoReturn:
    """Replace this process by the command. Exits with 127 or 126 when it cannot be started."""
    environment = settings.whole_environment(variables)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, AttributeError):  # the parent process closed the stream; the command handles that
            stream.flush()
    try:
        if not command[0]:
            raise FileNotFoundError(errno.ENOENT, "no name")
        if sys.platform == "win32":
            raise SystemExit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603
        for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores these signals, and a child process would inherit that
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execvpe(command[0], command, environment)  # noqa: S606  (it is the user's own)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        print_error(f"{command[0]!r} cannot be run: {'there is no such command' if missing else error.strerror}")
        raise SystemExit(NOT_THERE if missing else CANNOT_RUN) from error


COMMANDS = (run,)
