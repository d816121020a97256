"""Which version made the result bad? The versions between a good and a bad one, halved at each step.

Nothing is remembered between calls: the caller says which versions were tested and how they did, and is told which
one to try next, or the answer. As with every bisection, the answer is right when there is one change from good to
bad between the two ends.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow_dsver.errors import InvalidArgument, NotFound
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution.version_files import RefLike, resolve

MAX_VERSIONS = 100_000
"""Versions that are looked through at most for both ends."""

_RUN_ID = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class BisectStep:
    """Where a bisection stands.

    good, bad: the newest version known to be good and the oldest known to be bad behind it, in the order of making.
    next: the version to try; None when there is none left. between: untested versions between good and bad.
    skipped: versions between them that cannot be tested. tries: how many more it takes at most.
    The search is done when `next` is None: `bad` is then the first bad version, or one of `skipped` is.
    """

    good: DatasetVersion
    bad: DatasetVersion
    next: DatasetVersion | None
    between: int
    skipped: tuple[DatasetVersion, ...] = ()

    @property
    def tries(self) -> int:
        """How many versions remain to be tried at most."""
        return self.between.bit_length()

    @property
    def suspects(self) -> tuple[DatasetVersion, ...]:
        """Where the change to bad came, once the search is done: more than one only where some were skipped."""
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
    """The next step between a good and a bad version of one dataset, given what was tested so far.

    good, bad: versions, or ids of runs, which stand for what they used in the role. tested_good, tested_bad, skip:
    versions that were tried, and those that cannot be tried.
    Raises InvalidArgument for versions of two datasets, for results that contradict each other, and when the bad
    version is not newer than the good one; and the provider's errors.
    """
    first, last = _end(good, role), _end(bad, role)
    if first.ref.at(None) != last.ref.at(None):
        raise InvalidArgument("good and bad are of two datasets", expected=first.ref.at(None), got=last.ref.at(None))
    versions = _between(first, last)
    goods = _ids(tested_good, first) | {first.id}
    bads = _ids(tested_bad, first) | {last.id}
    return step(versions, goods, bads, _ids(skip, first))


def step(
    versions: Sequence[DatasetVersion], goods: Collection[str], bads: Collection[str], skips: Collection[str]
) -> BisectStep:
    """The next step; versions from oldest to newest, the first of them good, the last bad. Pure."""
    newest_good = max(place for place, each in enumerate(versions) if each.id in goods)
    oldest_bad = min(place for place, each in enumerate(versions) if each.id in bads)
    if newest_good >= oldest_bad:
        raise InvalidArgument(
            "the results contradict each other: a good version is not older than a bad one",
            expected="good ones first, then bad ones",
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
    """The step for people."""
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
    """The step for programs."""
    return {
        "schema": 1,
        "good": str(found.good),
        "bad": str(found.bad),
        "next": str(found.next) if found.next else None,
        "between": found.between,
        "suspects": [str(each) for each in found.suspects] if found.next is None else [],
    }


def _end(end: RefLike, role: str) -> DatasetVersion:
    """The version at one end; a text that is the id of a run stands for what the run used."""
    if not isinstance(end, str) or not _RUN_ID.match(end):
        return resolve(end)
    from mlflow_dsver.tracking.history import inputs_of

    links = {link.role: link.version for link in inputs_of(end)}
    if role not in links:
        known = ", ".join(links) or "no role at all"
        raise InvalidArgument(f"run {end} has no version in the role {role}", expected=f"one of: {known}")
    return links[role]


def _between(first: DatasetVersion, last: DatasetVersion) -> list[DatasetVersion]:
    """From good to bad, oldest first, both included."""
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
