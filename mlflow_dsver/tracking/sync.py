"""Sends the outbox's entries to their runs, and checks versions that were linked offline with their providers.

For each entry that no living process holds: the run is read, what is missing is written, and the entry is removed
when the record is complete. An entry may be sent again after a kill at any moment: nothing is written twice. Each
request is bounded in time; a store or provider that does not answer is tried once per `sync`, and its entries wait
for the next. An entry that cannot be sent, or not completely, is kept and reported; only a person drops it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
from mlflow import MlflowClient

from mlflow_dsver.errors import (
    DsverError,
    IncompleteRecord,
    InputConflict,
    InvalidArgument,
    ProviderUnavailable,
    RunNotFound,
    StoreError,
    TrackingError,
)
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import Grade, Link
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record import schema
from mlflow_dsver.record.schema import error_keys, has_all_links, is_recorded
from mlflow_dsver.text import error_line, one_line
from mlflow_dsver.tracking import clients, outbox, record_writer
from mlflow_dsver.tracking.clients import address, local_store
from mlflow_dsver.tracking.mlflow_private import DEFAULT_WORKSPACE, active_workspace, artifact_repository
from mlflow_dsver.tracking.outbox import OutboxEntry, PendingRecord
from mlflow_dsver.tracking.reconcile import confirm
from mlflow_dsver.tracking.record_writer import PendingLink

_logger = logging.getLogger(__name__)


class State(StrEnum):
    """The outcome of an entry, in order of severity."""

    WAITING = "waiting"
    THERE = "there already"
    SENT = "sent"
    CONFIRMED = "confirmed"
    FORGOTTEN = "forgotten"
    UNREADABLE = "unreadable"
    UNREACHABLE = "unreachable"
    INCOMPLETE = "files missing"
    NO_RUN = "no run"
    CONFLICT = "conflict"
    MOVED_BEFORE = "moved before"
    CONTRADICTED = "contradicted"


FINDINGS = frozenset({State.NO_RUN, State.CONFLICT, State.MOVED_BEFORE, State.CONTRADICTED})
COULD_NOT = frozenset({State.UNREADABLE, State.UNREACHABLE, State.INCOMPLETE})
_GRAVITY = {state: number for number, state in enumerate(State)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an entry of the outbox.

    path: its file. entry: None when that cannot be read. kept: whether the file is still there. detail: one line.
    State INCOMPLETE: the run has the links in params, tags and dataset inputs, and not the files of the record.
    """

    state: State
    path: Path
    entry: PendingRecord | None
    detail: str = ""
    kept: bool = True

    @property
    def id(self) -> str:
        """The id of the entry; `forget` accepts it."""
        return outbox.entry_id(self.path)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; run_id, tracking, created and inputs only where the entry could be read."""
        fields: dict[str, Any] = {"id": self.id, "outcome": str(self.state), "detail": self.detail}
        fields |= {"kept": self.kept, "file": str(self.path)}
        if self.entry is None:
            return fields
        inputs = [
            {"role": link.role, "reference": str(link.version.ref), "offline": link.role in self.entry.offline}
            for link in self.entry.links
        ]
        run = {"run_id": self.entry.run_id, "tracking": self.entry.tracking, "created": date_text(self.entry.created)}
        workspace = {} if self.entry.workspace is None else {"workspace": self.entry.workspace}
        return {**run, **workspace, "inputs": inputs, **fields}


@dataclass(slots=True)
class _Unreachable:
    """Stores (by address) and providers (by name) that did not answer in this sync, with the error."""

    stores: dict[str, str] = field(default_factory=dict)
    providers: dict[str, ProviderUnavailable] = field(default_factory=dict)


def waiting() -> Iterator[Outcome]:
    """The waiting entries, oldest first, without a request or a write. Raises StoreError if they cannot be listed."""
    return (outcome for outcome, _ in _entries())


def sync(*, forget: bool = False) -> Iterator[Outcome]:
    """Send waiting entries, oldest first; lazy: each entry is sent when its outcome is consumed.

    forget: drop entries that cannot be sent, since the run is gone or has another version in the role by now.
    Raises StoreError when the journal cannot be listed.
    """
    outbox.tidy()
    unreachable = _Unreachable()
    for outcome, held in _entries():
        if outcome.entry is None or held is None:
            yield outcome
            continue
        state, detail, whole = _settled(outcome.entry, unreachable)
        hopeless = state in (State.NO_RUN, State.CONFLICT)
        if whole or (hopeless and forget):
            held.done()
        elif hopeless and detail != outcome.entry.error:
            held.fail(detail)
        state = State.FORGOTTEN if hopeless and forget else state
        yield replace(outcome, state=state, detail=detail, kept=held.path.exists())


def forget(names: Collection[str]) -> list[Outcome]:
    """Drop the entries that these names mean: ids of entries, or of runs. Makes no request.

    Raises InvalidArgument, and drops nothing, when a name means no entry that waits; StoreError when one cannot be
    deleted.
    """
    found = [each for each in waiting() if _names_of(each) & set(names)]
    unknown = sorted(set(names) - {name for each in found for name in _names_of(each)})
    if unknown:
        raise InvalidArgument(
            f"nothing waits under {', '.join(one_line(name, 80) for name in unknown[:3])}",
            expected="the id of an entry, or of a run",
            done="Nothing was dropped",
            tip="mlflow-dsver sync --list",
        )
    return [_forgotten(each) for each in found]


def _names_of(outcome: Outcome) -> set[str]:
    run = {outcome.entry.run_id} if outcome.entry is not None else set()
    return {outcome.id, outcome.path.name, outcome.path.stem} | run


def _forgotten(outcome: Outcome) -> Outcome:
    try:
        dropped = outbox.drop(outcome.path)
    except OSError as error:
        raise StoreError(f"{outcome.path} cannot be deleted: {error.strerror or error}") from error
    if dropped:
        return replace(outcome, state=State.FORGOTTEN, kept=False)
    return replace(outcome, state=State.WAITING, detail="a running process is recording it")


def exit_code(states: Sequence[State]) -> int:
    """1 when there is a finding, else 3 when something could not be done, else 0."""
    return 1 if FINDINGS & set(states) else 3 if COULD_NOT & set(states) else 0


def _entries() -> Iterator[tuple[Outcome, OutboxEntry | None]]:
    """The journal's entries as they wait; last those that cannot be read, which are not held."""
    unreadable: list[Outcome] = []

    def note(path: Path, why: str) -> None:
        unreadable.append(Outcome(State.UNREADABLE, path, None, one_line(why)))

    try:
        with closing(outbox.waiting(note)) as found:
            for path, entry, held in found:
                yield Outcome(State.WAITING, path, entry, entry.error or ""), held
    except OSError as error:
        raise StoreError(f"the journal cannot be listed: {error.strerror or error}") from error
    yield from ((each, None) for each in unreadable)


def _settled(entry: PendingRecord, unreachable: _Unreachable) -> tuple[State, str, bool]:
    """The state of an entry, a line of detail, and whether the entry is complete."""
    try:
        client, known = _run(entry, unreachable)
        sent = _send(client, entry, known, unreachable)
        return _confirmed(client, entry, known, sent, unreachable)
    except RunNotFound as error:
        return State.NO_RUN, one_line(error, 500), False
    except InputConflict as error:
        return State.CONFLICT, one_line(error, 500), False
    except IncompleteRecord as error:
        return State.INCOMPLETE, one_line(error, 500), False
    except DsverError as error:
        return State.UNREACHABLE, one_line(error, 500), False
    except Exception as error:  # noqa: BLE001  (a plug-in, or an entry that somebody else wrote: the rest goes on)
        return State.UNREACHABLE, f"unexpected {error_line(error)}", False


def _run(entry: PendingRecord, unreachable: _Unreachable) -> tuple[MlflowClient, Any]:
    """A client of the store that has the run, and the run. Raises TrackingError, RunNotFound."""
    if entry.tracking in unreachable.stores:
        raise TrackingError(f"not asked again: {unreachable.stores[entry.tracking]}")
    try:
        client = _client(entry.tracking, entry.workspace)
        known: Any = clients.read_run(client, clients.deadline(), entry.run_id)
    except RunNotFound:
        raise
    except TrackingError as error:
        unreachable.stores[entry.tracking] = one_line(error, 400)
        raise
    if known.info.lifecycle_stage == "deleted":
        raise RunNotFound(f"run {one_line(entry.run_id, 60)} was deleted", tip="mlflow runs restore, and sync again")
    return client, known


def _client(kept: str, workspace: str | None) -> MlflowClient:
    """A client of the store at that address; with the login of the current tracking URI when that is the same.

    workspace: that has the run. An entry of none was made in the server's default one, whichever is active now.
    """
    current = mlflow.get_tracking_uri()
    uri = current if address(current) == kept else kept
    place = local_store(uri)
    if place is not None and not place.exists():  # MLflow would make a new, empty one
        raise TrackingError(f"there is no tracking store at {place}")
    if workspace is None and active_workspace() is not None:
        workspace = DEFAULT_WORKSPACE
    target = SimpleNamespace(tracking_uri=uri)
    return clients.within(target, clients.deadline(), "open the store", lambda: clients.new_client(uri, workspace))


def _send(client: MlflowClient, entry: PendingRecord, known: Any, unreachable: _Unreachable) -> bool:
    """Write what the run lacks; False when it lacks nothing. Raises InputConflict before anything is written."""
    record_writer.refuse_conflicts(known, entry.links)
    until = clients.deadline()
    what = f"show the artifacts of run {entry.run_id}"
    names = clients.within(client, until, what, lambda: _names(client, entry, known))
    manifests = {link.role: schema.manifest_name(link.role) for link in entry.links}
    if names is not None and set(manifests.values()) <= names:
        return False
    pending = [
        PendingLink(link, _manifest(link, unreachable), entry.overridden.get(link.role)) for link in entry.links
    ]
    without_manifest = [
        each for each in pending if each.manifest is not None and manifests[each.link.role] not in (names or ())
    ]
    if names is not None and not without_manifest:
        return False
    until = clients.deadline()
    clients.within(
        client,
        until,
        f"link run {entry.run_id}",
        lambda: record_writer.write(
            client, known.info, known, pending, until, all_artifacts=True, params=entry.params
        ),
    )
    return True


def _names(client: MlflowClient, entry: PendingRecord, known: Any) -> set[str] | None:
    """The record's artifacts on the run, when all else of it is there and so are those that every record has."""
    if not is_recorded(known, entry.links, entry.overridden):
        return None
    try:
        listed = artifact_repository(client, known.info.artifact_uri).list_artifacts(schema.FOLDER)
    except Exception as error:  # the tracking server has just answered; so the failure is the artifact store's
        raise record_writer.incomplete(entry.run_id, map(schema.json_name, sorted(_roles(entry))), error) from error
    names = {each.path.rpartition("/")[2] for each in listed if each.file_size != 0}
    return names if has_all_links(names, entry.links) else None


def _roles(entry: PendingRecord) -> set[str]:
    return {link.role for link in entry.links}


def _manifest(link: Link, unreachable: _Unreachable) -> Manifest | None:
    """The version's manifest, if its provider can supply it; the record is valid without it."""
    name = link.version.ref.provider
    if name in unreachable.providers:
        return None
    try:
        return get_provider(name).manifest(link.version)
    except ProviderUnavailable as error:
        unreachable.providers[name] = error
    except DsverError as error:
        _logger.debug("no manifest of %s: %s", link.version.ref, error)
    return None


def _confirmed(
    client: MlflowClient, entry: PendingRecord, known: Any, sent: bool, unreachable: _Unreachable
) -> tuple[State, str, bool]:
    """Check roles that were linked offline with their providers, and write the results to the run."""
    have = {key: text for link in entry.links for key, text in schema.tags(link).items()} | known.data.tags
    if sent:
        have = {key: text for key, text in have.items() if key not in error_keys(entry.links)}
    states = [State.SENT if sent else State.THERE]
    details, complete = [], True
    for link in entry.links:
        if link.role not in entry.offline:
            continue
        try:
            state, detail = _confirm_role(client, entry.run_id, link, have, unreachable)
        except DsverError as error:
            state, detail, complete = State.UNREACHABLE, one_line(error, 300), False
        states.append(state)
        details.append(f"{link.role}: {detail}")
    if not complete:
        details.insert(0, "on the run, not confirmed yet")
    return max(states, key=_GRAVITY.__getitem__), "; ".join(details), complete


def _confirm_role(
    client: MlflowClient, run_id: str, link: Link, have: Any, unreachable: _Unreachable
) -> tuple[State, str]:
    """Confirm or contradict one role on the run. have: the run's tags."""
    name = link.version.ref.provider
    if name in unreachable.providers:
        raise unreachable.providers[name]
    grade_key, error_key = schema.key(link.role, "grade"), schema.key(link.role, "error")
    try:
        confirmed = confirm(link, _grade(have.get(grade_key), link.grade))
    except ProviderUnavailable as error:
        unreachable.providers[name] = error
        raise
    tags = {grade_key: str(confirmed.grade)}
    if confirmed.error is not None:
        tags[error_key] = one_line(confirmed.error, schema.ERROR_LIMIT)
    changed = {key: text for key, text in tags.items() if have.get(key) != text}
    obsolete = confirmed.error is None and have.get(error_key, "").startswith(schema.OFFLINE_FINDING)

    def work() -> None:
        if changed:
            record_writer.put_tags(client, run_id, changed)
        if obsolete:
            client.delete_tag(run_id, error_key)

    if changed or obsolete:
        clients.within(client, clients.deadline(), f"put tags on run {run_id}", work)
    return State(confirmed.state), confirmed.detail


def _grade(text: str | None, otherwise: Grade) -> Grade:
    try:
        return Grade.parse(text or "")
    except ValueError:
        return otherwise
