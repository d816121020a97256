"""A Delta table's log: which versions it has, which of them can still be loaded, and what each commit says.

The files are those of the Delta protocol: `<20 digits>.json` for each commit, and checkpoints, from which on a
version can be loaded when the commits before were cleaned up. Nothing here needs deltalake.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow_dsver.errors import CorruptObject, NotFound
from mlflow_dsver.providers.delta.info import NAME
from mlflow_dsver.providers.delta.places import FileState, Place

FOLDER = "_delta_log"
_COMMIT = re.compile(r"(\d{20})\.json\Z")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint(?:\.[\w.-]+)?\.(?:parquet|json)\Z")
_LATEST_DATE = 253_402_300_799_000
"""Milliseconds of the last second of the year 9999."""


@dataclass(frozen=True, slots=True)
class Log:
    """The versions that a table's log has. oldest, newest: numbers; what is between them can be loaded.

    commits: the numbers whose commit is there, each with what is said of its file.
    """

    place: Place
    commits: Mapping[int, FileState]
    oldest: int
    newest: int

    def commit(self, version: int) -> Commit | None:
        """A commit; None when it was cleaned up, so that only a checkpoint has the version."""
        if version not in self.commits:
            return None
        path = commit_path(version)
        try:
            return Commit(self.place, version, bytes(self.place.read(path)), self.commits[version].modified)
        except NotFound:
            return None  # cleaned up since it was listed

    def check(self, version: int) -> None:
        """Raise NotFound, saying why, for a version that the log does not have."""
        if self.oldest <= version <= self.newest:
            return
        if version > self.newest:
            what = f"there is no version {version}; the newest one is {self.newest}"
            tip = "if it was there once, the table was made anew at this place, or its log was cut"
        else:
            what = f"version {version} cannot be loaded any more: the log was cleaned up before version {self.oldest}"
            tip = "a longer delta.logRetentionDuration keeps what was not cleaned up yet"
        raise NotFound(what, provider=NAME, operation="resolve", reference=self.place.ref.at(str(version)), tip=tip)


def read_log(place: Place) -> Log:
    """The versions of a table. Raises NotFound when there is no table."""
    names = place.names(FOLDER)
    commits = {int(found[1]): names[name] for name in names if (found := _COMMIT.match(name))}
    checkpoints = {int(found[1]) for name in names if (found := _CHECKPOINT.match(name))}
    if not commits and not checkpoints:
        raise NotFound("there is no Delta table", provider=NAME, operation="resolve", reference=place.ref)
    newest = max({*commits, *checkpoints})
    first = newest
    while first - 1 in commits and first in commits:
        first -= 1
    if first == 0 and 0 in commits:
        return Log(place, commits, 0, newest)
    usable = [each for each in checkpoints if each >= first - 1]
    if not usable:
        raise CorruptObject(
            "the table's log has a gap, and no checkpoint to load a version from",
            reference=place.ref,
            expected=f"a commit of version {first - 1}",
        )
    return Log(place, commits, min(usable), newest)


def commit_path(version: int) -> str:
    """Where the commit of a version is, below the table."""
    return f"{FOLDER}/{version:020d}.json"


class Commit:
    """A commit as its file says. info: the commitInfo, {} for none."""

    def __init__(self, place: Place, version: int, content: bytes, written: datetime) -> None:
        self.version = version
        self.digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.info: Mapping[str, Any] = {}
        self.has_metadata = False
        for action in _actions(place, version, content):
            info = action.get("commitInfo")
            if isinstance(info, dict):
                self.info = info
            self.has_metadata = self.has_metadata or "metaData" in action
        self._written = written

    @property
    def date(self) -> datetime:
        """When it was committed, as it says itself, so that a copied table says the same; else its file's date."""
        for name in ("inCommitTimestamp", "timestamp"):
            value = self.info.get(name)
            if type(value) is int and 0 <= value <= _LATEST_DATE:
                return datetime.fromtimestamp(value / 1000, UTC)
        return self._written


def _refused(_: str) -> None:
    raise ValueError("NaN and infinite numbers are no JSON")


def _actions(place: Place, version: int, content: bytes) -> Iterator[dict[str, Any]]:
    """The actions that matter here; files that are added and removed are passed over unread."""
    for line in content.splitlines():
        if line.startswith((b'{"add":', b'{"remove":', b'{"cdc":')):
            continue
        try:
            action = json.loads(line, parse_constant=_refused) if line.strip() else {}
        except (ValueError, RecursionError):
            action = None
        if not isinstance(action, dict):
            raise CorruptObject(
                f"the log entry of version {version} is damaged",
                reference=place.ref.at(str(version)),
                expected=f"lines of JSON in {commit_path(version)}",
            )
        yield action
