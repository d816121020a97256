"""Bisection by a command: which version is good and which bad is what the command's exit code says.

Both ends are tried before anything between them: a command that calls the good version bad, or the bad one good,
tests something else than what was meant, and any answer that it leads to would be wrong. The exit codes are those of
`git bisect run`: 0 good, 125 skip, 1 to 124 bad. 126 and 127 (not executable, not found), 128 and more, and a
signal say that the command did not do its work, which says nothing about the data: they stop the search.

The command runs in the environment of this process, so that it asks the same tracking server and the same stores.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from enum import StrEnum

from mlflow_dsver import settings
from mlflow_dsver.checks.bisect import BisectStep, bisect
from mlflow_dsver.errors import DsverError, InvalidArgument
from mlflow_dsver.resolution import inputs
from mlflow_dsver.resolution.version_files import RefLike

SKIP = 125
LAST_BAD = 124
NOT_THE_CHILDS = ("MLFLOW_RUN_ID",)
"""Variables that the command does not get: with the first, every try would resume one and the same run."""


class Result(StrEnum):
    """How a version did."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


class CommandFailed(DsverError):
    """The command did not test a version, or its answers contradict what is known of the two ends."""


Try = Callable[[str], Result]
"""Tries the version of a canonical reference."""


def search(
    good: RefLike,
    bad: RefLike,
    try_version: Try,
    *,
    role: str = "training",
    tested_good: tuple[str, ...] = (),
    tested_bad: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
) -> BisectStep:
    """The end of a bisection whose tries are made by a function; arguments as of `bisect`.

    Raises CommandFailed when the good version is not good by that function, or the bad one not bad; the errors of
    `bisect`, and what the function raises.
    """
    known = {Result.GOOD: [*tested_good], Result.BAD: [*tested_bad], Result.SKIP: [*skip]}
    ends = bisect(good, bad, role=role)
    for version, expected in ((ends.good, Result.GOOD), (ends.bad, Result.BAD)):
        found = try_version(str(version))
        if found is not expected:
            raise CommandFailed(
                f"the command does not find the {expected} version {expected}, so its answers lead nowhere",
                reference=version,
                expected=expected,
                got=found,
                done="The search was not begun",
                tip="the command on this version by hand",
            )
    while True:
        step = bisect(
            ends.good,
            ends.bad,
            role=role,
            tested_good=known[Result.GOOD],
            tested_bad=known[Result.BAD],
            skip=known[Result.SKIP],
        )
        if step.next is None:
            return step
        known[try_version(str(step.next))].append(str(step.next))


def command_result(code: int, reference: str) -> Result:
    """What an exit code says of a version. Raises CommandFailed when it says nothing of it."""
    if code == 0:
        return Result.GOOD
    if code == SKIP:
        return Result.SKIP
    if 1 <= code <= LAST_BAD:
        return Result.BAD
    how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
    raise CommandFailed(
        f"the command {how}, which says nothing about the data",
        reference=reference,
        expected="0 for good, 125 for a version that cannot be tried, 1 to 124 for bad",
        done="The search was stopped",
    )


def run_command(command: str, role: str, reference: str) -> Result:
    """Run a command on a version: `{}` in it stands for the reference; its output goes to standard error.

    Raises InvalidArgument for a command that cannot be run at all, and CommandFailed as of `command_result`.
    """
    words = [word.replace("{}", reference) for word in _words(command)]
    override = inputs.written(inputs.overrides() | {role: reference})
    environment = settings.whole_environment({settings.PREFIX + "OVERRIDE": override})
    for name in NOT_THE_CHILDS:
        environment.pop(name, None)
    try:
        done = subprocess.run(words, env=environment, stdout=2, check=False)  # noqa: S603  (it is the user's own)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidArgument(f"{words[0]} cannot be run: {why}") from error
    return command_result(done.returncode, reference)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InvalidArgument(f"not a command: {error}", got=ascii(command)[:80]) from error
    if not words:
        raise InvalidArgument("an empty command")
    return words
