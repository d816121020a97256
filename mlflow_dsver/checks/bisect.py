"""Binary search for the first bad dataset version between a good and a bad one, by hand or with a command.

`bisect` is stateless: the caller passes the versions tested so far with their results and gets the next version to
test, or the first bad version. As with `git bisect`, the result is correct if the versions change from good to bad
exactly once.

`bisect_with` tests the versions with a function, `run_command` with a shell command. Both ends are tested first: if
the command reports the good version as bad, or the bad one as good, it does not test what the caller means, and
every result would be wrong. Exit codes are those of `git bisect run`: 0 good, 125 skip, 1 to 124 bad. 126 and 127
(not executable, not found), 128 and above, and a signal mean that the command failed to test the version; they stop
the search. The command inherits this process's environment, so that it uses the same tracking server and stores.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InvalidArgument, NotFound
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import inputs
from mlflow_dsver.resolution.version_files import RefLike, resolve

MAX_VERSIONS = 100_000
"""Maximum number of versions of a dataset that are listed to find both ends."""

SKIP = 125
LAST_BAD = 124
REMOVED_VARIABLES = ("MLFLOW_RUN_ID",)
"""Environment variables that the command does not inherit: MLflow would resume this run in every test."""

_RUN_ID = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class BisectStep:
    """The state of a bisection.

    good, bad: the newest known good version and the oldest known bad one, by creation date.
    next: the version to test; None when none is left. between: number of untested versions between good and bad.
    skipped: versions between them that cannot be tested. tries: maximum number of further tests.
    The search ends when `next` is None: then `bad`, or one of `skipped`, is the first bad version.
    """

    good: DatasetVersion
    bad: DatasetVersion
    next: DatasetVersion | None
    between: int
    skipped: tuple[DatasetVersion, ...] = ()

    @property
    def tries(self) -> int:
        """Maximum number of further versions to test."""
        return self.between.bit_length()

    @property
    def suspects(self) -> tuple[DatasetVersion, ...]:
        """The candidates for the first bad version after the search; more than one only if some were skipped."""
        return (*self.skipped, self.bad)


def bisect(
    good: RefLike,
    bad: RefLike,
    *,
    role: str = "training",
    tested_good: Iterable[RefLike] = (),
    tested_bad: Iterable[RefLike] = (),
    skip: Iterable[RefLike] = (),
) -> BisectStep:
    """The next step of a bisection between a good and a bad version of one dataset, given the results so far.

    good, bad: versions, or run ids, which select the version that the run used in `role`. tested_good, tested_bad:
    versions tested so far, by result. skip: versions that cannot be tested.
    Raises InvalidArgument for versions of different datasets, for contradicting results, and if the bad version is
    not newer than the good one; and the provider's errors.
    """
    first, last = _end(good, role), _end(bad, role)
    if first.ref.at(None) != last.ref.at(None):
        raise InvalidArgument(
            "good and bad are versions of different datasets", expected=first.ref.at(None), got=last.ref.at(None)
        )
    versions = _between(first, last)
    goods = _ids(tested_good, first) | {first.id}
    bads = _ids(tested_bad, first) | {last.id}
    return step(versions, goods, bads, _ids(skip, first))


def step(
    versions: Sequence[DatasetVersion], goods: Collection[str], bads: Collection[str], skips: Collection[str]
) -> BisectStep:
    """The next step. versions: oldest first; the first is good, the last bad. Pure."""
    newest_good = max(index for index, each in enumerate(versions) if each.id in goods)
    oldest_bad = min(index for index, each in enumerate(versions) if each.id in bads)
    if newest_good >= oldest_bad:
        raise InvalidArgument(
            "the results contradict each other: a good version is not older than a bad one",
            expected="all good versions older than all bad ones",
            got=f"good: {versions[newest_good]}, bad: {versions[oldest_bad]}",
        )
    inner = versions[newest_good + 1 : oldest_bad]
    untested = [each for each in inner if each.id not in skips]
    return BisectStep(
        good=versions[newest_good],
        bad=versions[oldest_bad],
        next=untested[len(untested) // 2] if untested else None,
        between=len(untested),
        skipped=tuple(each for each in inner if each.id in skips),
    )


def step_lines(found: BisectStep) -> Iterator[str]:
    """The step as lines of text."""
    yield f"good  {found.good}"
    yield f"bad   {found.bad}"
    if found.next is not None:
        yield f"{found.between:,} between them; at most {found.tries} to try"
        yield f"next  {found.next}"
    elif found.skipped:
        yield "the first bad version is one of these; the others could not be tested:"
        yield from (f"  {each}" for each in found.suspects)
    else:
        yield f"the first bad version is {found.bad}"


def step_json(found: BisectStep) -> dict[str, Any]:
    """The step as a JSON object."""
    return {
        "schema": 1,
        "good": str(found.good),
        "bad": str(found.bad),
        "next": str(found.next) if found.next else None,
        "between": found.between,
        "suspects": [str(each) for each in found.suspects] if found.next is None else [],
    }


def _end(end: RefLike, role: str) -> DatasetVersion:
    """The version at one end; a run id selects the version that the run used in the role."""
    if not isinstance(end, str) or not _RUN_ID.match(end):
        return resolve(end)
    from mlflow_dsver.tracking.history import links_of

    links = {link.role: link.version for link in links_of(end)}
    if role not in links:
        known = ", ".join(links) or "no role at all"
        raise InvalidArgument(f"run {end} has no version in the role {role}", expected=f"one of: {known}")
    return links[role]


def _between(first: DatasetVersion, last: DatasetVersion) -> list[DatasetVersion]:
    """The versions from good to bad, oldest first, both included."""
    provider = get_provider(first.ref.provider)
    found: list[DatasetVersion] = []
    for number, each in enumerate(provider.versions(first.ref.dataset)):
        if each.id == last.id or found:
            found.append(each)
        if each.id == first.id:
            if not found:
                raise InvalidArgument(
                    "the good version is newer than the bad one", expected="good before bad", got=f"{first}, {last}"
                )
            if len(found) > 1:
                return found[::-1]
            raise InvalidArgument("good and bad are the same version", got=first)
        if number > MAX_VERSIONS:
            break
    raise NotFound("the versions between good and bad cannot be listed", reference=first, operation="bisect")


def _ids(refs: Iterable[RefLike], first: DatasetVersion) -> set[str]:
    found = set()
    for ref in refs:
        version = resolve(ref)
        if version.ref.at(None) != first.ref.at(None):
            raise InvalidArgument("a tested version is of another dataset", expected=first.ref.at(None), got=version)
        found.add(version.id)
    return found


class Result(StrEnum):
    """The result of testing a version."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


class CommandFailed(DsverError):
    """The command failed to test a version, or its results contradict the known results of the two ends."""


TestVersion = Callable[[str], Result]
"""Tests a version, passed as its canonical reference."""


def bisect_with(
    good: RefLike,
    bad: RefLike,
    test_version: TestVersion,
    *,
    role: str = "training",
    tested_good: tuple[str, ...] = (),
    tested_bad: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
) -> BisectStep:
    """Run a bisection to its end, with a function that tests each version; other arguments as for `bisect`.

    Raises CommandFailed if the function reports the good version as not good or the bad one as not bad, the errors
    of `bisect`, and whatever the function raises.
    """
    known = {Result.GOOD: [*tested_good], Result.BAD: [*tested_bad], Result.SKIP: [*skip]}
    ends = bisect(good, bad, role=role)
    for version, expected in ((ends.good, Result.GOOD), (ends.bad, Result.BAD)):
        actual = test_version(str(version))
        if actual is not expected:
            raise CommandFailed(
                f"the command does not report the {expected} version as {expected}",
                reference=version,
                expected=expected,
                got=actual,
                done="The search was not started",
                tip="run the command on this version by hand",
            )
    while True:
        current = bisect(
            ends.good,
            ends.bad,
            role=role,
            tested_good=known[Result.GOOD],
            tested_bad=known[Result.BAD],
            skip=known[Result.SKIP],
        )
        if current.next is None:
            return current
        known[test_version(str(current.next))].append(str(current.next))


def command_result(code: int, reference: str) -> Result:
    """The result that an exit code stands for. Raises CommandFailed if the command did not test the version."""
    if code == 0:
        return Result.GOOD
    if code == SKIP:
        return Result.SKIP
    if 1 <= code <= LAST_BAD:
        return Result.BAD
    how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
    raise CommandFailed(
        f"the command {how} without testing the version",
        reference=reference,
        expected="0 for good, 125 for a version that cannot be tested, 1 to 124 for bad",
        done="The search was stopped",
    )


def run_command(command: str, role: str, reference: str) -> Result:
    """Run a command on a version. `{}` in it is replaced by the reference; its output goes to standard error.

    Raises InvalidArgument for a command that cannot be started, and CommandFailed as `command_result` does.
    """
    arguments = [argument.replace("{}", reference) for argument in _split(command)]
    override = inputs.format_inputs(inputs.configured_overrides() | {role: reference})
    environment = settings.whole_environment({settings.PREFIX + "OVERRIDE": override})
    for name in REMOVED_VARIABLES:
        environment.pop(name, None)
    try:
        completed = subprocess.run(arguments, env=environment, stdout=2, check=False)  # noqa: S603  (the user's own command)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise InvalidArgument(f"{arguments[0]} cannot be run: {why}") from error
    return command_result(completed.returncode, reference)


def _split(command: str) -> list[str]:
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise InvalidArgument(f"not a command: {error}", got=ascii(command)[:80]) from error
    if not arguments:
        raise InvalidArgument("an empty command")
    return arguments
