"""Links versions to many ended runs, as a CSV file names them.

All rows are read and checked before the first is attached; a row that fails then does not stop the rest. A second
call continues where the first stopped: a link that is on its run costs one read and no write. Each reference is
resolved once, so that a tag that moves meanwhile cannot split the rows. A row is finished before an interrupt takes
effect; a kill leaves its link in the outbox. Memory is bounded by the limits below.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, Any

from mlflow import MlflowClient

from mlflow_dsver.deadlines import DeadlineExceeded
from mlflow_dsver.errors import (
    DsverError,
    InputConflict,
    InvalidArgument,
    ProviderUnavailable,
    RunNotFound,
    TrackingError,
)
from mlflow_dsver.model.refs import check_role, nearest, parse
from mlflow_dsver.model.versions import DatasetVersion, Link, now, this_host
from mlflow_dsver.providers import registry
from mlflow_dsver.record import reader
from mlflow_dsver.record.schema import is_recorded
from mlflow_dsver.resolution.version_files import resolve
from mlflow_dsver.text import human_count, one_line
from mlflow_dsver.tracking import api, clients, record_writer
from mlflow_dsver.tracking.record_writer import PendingLink
from mlflow_dsver.tracking.resolved_inputs import ResolvedInputs, logged_params

MAX_ROWS = 100_000
"""Rows of a file at most; more are split over several."""
MAX_LINE = 65_536
"""Bytes of a line at most; a reference has a few hundred."""
MAX_BAD = 10_000
"""Bad rows at which reading ends."""
SHOWN = 10
"""Bad rows listed in an error message; the rest are only counted."""
PATIENCE = 3
"""Consecutive rows that may time out; after that, all remaining rows fail without a request. Call again later."""

_COLUMNS = ("run_id", "reference", "role")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file. line: its line number, from 1 on."""

    line: int
    run_id: str
    reference: str
    role: str


class State(StrEnum):
    """The outcome of a row."""

    ATTACHED = "attached"
    THERE = "already there"
    CONFLICT = "conflict"
    NO_RUN = "no such run"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a row. version: its canonical reference; None when it could not be resolved."""

    row: Row
    state: State
    version: str | None = None
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON object with every field."""
        row = self.row
        fields = {"line": row.line, "run_id": row.run_id, "role": row.role, "requested": row.reference}
        return {**fields, "reference": self.version, "outcome": str(self.state), "detail": self.detail}


def exit_code(states: Iterable[State]) -> int:
    """1 when a row conflicts or its run is not there, else 3 when one could not be attached, else 0."""
    seen = set(states)
    return 1 if seen & {State.CONFLICT, State.NO_RUN} else 3 if State.FAILED in seen else 0


# Reading


class _Bad(ValueError):
    """The file cannot be read on from here."""


def read(stream: IO[bytes], name: str, role: str = "training") -> list[Row]:
    """The rows of a file: a header with run_id, reference and, if wanted, role; UTF-8, with or without its mark.

    name: of the file, for the message. role: of rows that name none. Raises InvalidArgument that tells of all bad
    rows, with the numbers of their lines, as far as there is room.
    """
    known = registry.names()
    rows: list[Row] = []
    problems: list[str] = []
    lines = _lines(stream)
    reader = csv.reader(lines, strict=True)
    try:
        header = _header(next(reader, None))
        for cells in reader:
            if not cells:
                continue
            if len(rows) + len(problems) >= MAX_ROWS:
                raise _Bad(f"more than {human_count(MAX_ROWS, 'row')}; split the file")
            try:
                rows.append(_row(reader.line_num, header, cells, role, known))
            except ValueError as error:
                problems.append(f"line {reader.line_num}: {one_line(error, 150)}")
                if len(problems) >= MAX_BAD:
                    raise _Bad("this is another kind of file") from error
    except (_Bad, csv.Error) as error:
        line = max(1, reader.line_num + isinstance(error, _Bad))
        problems.append(f"line {line}: {error}; nothing below it was read")
    if problems:
        raise _refused(name, problems)
    return rows


def _refused(name: str, problems: Sequence[str]) -> InvalidArgument:
    more = f"; and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
    return InvalidArgument(
        f"{one_line(name)}: {human_count(len(problems), 'bad row')}: {'; '.join(problems[:SHOWN])}{more}",
        done="Nothing was written",
    )


def _lines(stream: IO[bytes]) -> Iterator[str]:
    first = True
    while line := stream.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise _Bad(f"longer than {MAX_LINE:,} bytes")
        try:
            yield line.decode("utf-8-sig" if first else "utf-8")
        except UnicodeDecodeError as error:
            raise _Bad("not UTF-8") from error
        first = False


def _header(cells: list[str] | None) -> list[str]:
    header = [cell.strip() for cell in cells or []]
    if len(set(header)) == len(header) and {"run_id", "reference"} <= set(header) <= set(_COLUMNS):
        return header
    got = one_line(",".join(header), 100) if header else "nothing"
    raise csv.Error(f"expected the header run_id,reference,role (role may be left out), got {got}")


def _row(line: int, header: list[str], cells: list[str], role: str, known: list[str]) -> Row:
    if len(cells) != len(header):
        raise ValueError(f"{human_count(len(cells), 'field')} under {len(header)} names")
    fields = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    run_id, reference = fields["run_id"], fields["reference"]
    if not _RUN_ID.match(run_id):
        raise ValueError(f"not a run's id: {run_id[:40]!a}")
    provider = parse(reference).provider
    if provider not in known:
        near = nearest(provider, known)
        raise ValueError(f"no provider is called {provider!r}" + (f", perhaps {near[0]}" if near else ""))
    return Row(line, run_id, reference, check_role(fields.get("role") or role))


# Attaching


def attach_all(rows: Iterable[Row]) -> Iterator[Outcome]:
    """Attach the rows lazily, one for each outcome consumed; the grades say `attached later`."""
    client, versions = clients.new_client(), _Versions()
    unanswered, last = 0, ""
    for row in rows:
        if unanswered >= PATIENCE:
            yield Outcome(row, State.FAILED, detail=f"not tried: {last}")
            continue
        try:
            outcome = _attach(client, row, versions)
            unanswered = 0
        except TrackingError as error:
            last = one_line(error, 400)
            unanswered = unanswered + 1 if _no_answer(error) else 0
            outcome = Outcome(row, State.FAILED, detail=last)
        yield outcome


def _no_answer(error: TrackingError) -> bool:
    return error.__cause__ is None or isinstance(error.__cause__, DeadlineExceeded)


def _attach(client: MlflowClient, row: Row, versions: _Versions) -> Outcome:
    """Raises TrackingError when the server does not answer or refuses; all else is an outcome."""
    try:
        version = versions.version(row.reference)
    except DsverError as error:
        return Outcome(row, State.FAILED, detail=one_line(error, 400))
    shown = str(version.ref)
    try:
        known: Any = clients.read_run(client, clients.deadline(), row.run_id)
        if known.info.lifecycle_stage == "deleted":
            return Outcome(row, State.NO_RUN, shown, "the run was deleted")
        provider = registry.get_provider(version.ref.provider)
        have = reader.links_of(known).get(row.role)
        grade = have.grade if have else provider.grade(version).with_notes(api.ATTACHED_LATER)
        link = Link(row.role, row.reference, version, grade, now(), host=this_host())
        record_writer.refuse_conflicts(known, [link])
        if is_recorded(known, [link]):
            return Outcome(row, State.THERE, shown)
        wanted = {row.role: PendingLink(link)}
        resolved = ResolvedInputs("raise", {row.role: row.reference}, wanted, known=known, params=logged_params())
        api.link_started(client, known.info, resolved, background=False)
    except RunNotFound as error:
        return Outcome(row, State.NO_RUN, shown, one_line(error, 400))
    except InputConflict as error:
        return Outcome(row, State.CONFLICT, shown, one_line(error, 400))
    return Outcome(row, State.ATTACHED, shown)


class _Versions:
    """Resolves each reference once; a failure is cached too, so an unavailable provider is called once."""

    def __init__(self) -> None:
        self._found: dict[str, DatasetVersion | DsverError] = {}
        self._silent: dict[str, ProviderUnavailable] = {}

    def version(self, reference: str) -> DatasetVersion:
        """Resolve a reference. Raises the provider's error, again on each later call."""
        if reference not in self._found:
            self._found[reference] = self._resolved(reference)
        found = self._found[reference]
        if isinstance(found, DsverError):
            raise found
        return found

    def _resolved(self, reference: str) -> DatasetVersion | DsverError:
        provider = parse(reference).provider
        if provider in self._silent:
            return self._silent[provider]
        try:
            return resolve(reference)
        except ProviderUnavailable as error:
            self._silent[provider] = error
            return error
        except DsverError as error:
            return error
