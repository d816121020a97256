"""Writes the record of a run in the background, and reports when that fails.

Each recording is in the outbox before its first request, and removed when the run has the whole record, so that a
kill loses nothing that `mlflow-dsver sync` cannot send. Callers that need the record wait for it (the end of the
`with` block, `run.inputs`, the end of the program), at most MLFLOW_DSVER_TRACKING_TIMEOUT after its start. A failure
is logged and written to the run as a tag; it ends no training. A forked process leaves recordings to its parent.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import DsverError, InputConflict
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.record import schema
from mlflow_dsver.resolution.version_files import manifest_of
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients, outbox, record_writer
from mlflow_dsver.tracking.clients import ServerTask
from mlflow_dsver.tracking.record_writer import LoggedRecord
from mlflow_dsver.tracking.resolved_inputs import ResolvedInputs
from mlflow_dsver.tracking.run_hooks import check_overlaps, overlaps_are_refused

TAG_TIMEOUT = 5.0
"""Seconds for writing an error tag: the server has most likely just failed to answer."""

HEAD_START = 0.001
"""Seconds before this thread starts, so that the caller continues without competing for the interpreter."""

_logger = logging.getLogger(__name__)
_open: list[Recording] = []
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class RecordedElsewhere:
    """A recording as another process sees it; the record is written by the process that started it.

    inputs: role to the digest of its dataset input. failure: as far as it was known when this was handed over.
    """

    run_id: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    failure: DsverError | None = None

    @property
    def over(self) -> bool:
        """True: there is nothing to wait for here."""
        return True

    def digests(self) -> Mapping[str, str]:
        """Role to the digest of its dataset input."""
        return self.inputs

    def result(self) -> LoggedRecord | None:
        """None: this process neither writes the record nor waits for it."""
        return None

    def settle(self) -> None:
        """Nothing is left to do here."""


class Recording:
    """The record of one run while it is written; made by `begin`. Pickled, it becomes a RecordedElsewhere."""

    def __init__(self, client: MlflowClient, info: Any, resolved: ResolvedInputs, *, background: bool) -> None:
        self.run_id: str = info.run_id
        self._client = client
        self._info = info
        self._resolved = resolved
        self._background = background
        self._process = os.getpid()
        self._until = clients.deadline()
        self._outbox_entry: outbox.OutboxEntry | None = None
        self._failing = threading.Lock()
        self._failure: DsverError | None = None
        self._unwritten_tags: dict[str, str] = {}
        self._loaded_manifests: dict[str, Manifest] = {}
        self._task: ServerTask[LoggedRecord | None] = ServerTask(client, f"link run {info.run_id}", self._work)

    @property
    def failure(self) -> DsverError | None:
        """Why the record is not complete; None when it is, or while that is not known yet."""
        return self._failure

    @property
    def over(self) -> bool:
        """Whether nothing is left to wait for or to write."""
        return self._task.done and not self._unwritten_tags and not self._loaded_manifests

    def note_loaded_files(self, role: str, version: DatasetVersion) -> None:
        """Keep the manifest of a version whose content digest is not in the record; `settle` adds it.

        Nothing is kept in a forked child, or where the files are not known one by one. Raises nothing.
        """
        if os.getpid() != self._process:
            return
        try:
            manifest = manifest_of(version)
        except DsverError as error:
            _logger.info("run %s, %s: no digest of its files: %s", self.run_id, role, one_line(error))
            return
        if manifest is not None:
            self._loaded_manifests[role] = manifest
            with _lock:
                if self not in _open:
                    _open.append(self)

    def result(self) -> LoggedRecord | None:
        """The record on the run, once it is written; None when nothing was to be recorded.

        Raises TrackingError when it was not recorded in time, and what else kept it from being so; in a forked child
        at once.
        """
        if os.getpid() != self._process:
            return None
        try:
            return self._task.result(self._until)
        except DsverError as error:
            self._fail(error)
            raise

    def digests(self) -> Mapping[str, str]:
        """Role to the digest of its dataset input, when the record stands on the run. Raises as `result` does."""
        logged = self.result()
        return self._planned_digests() if logged is None else logged.digests

    def _planned_digests(self) -> Mapping[str, str]:
        known = self._resolved.known
        present = schema.inputs_present(known) if known is not None else []
        return schema.plan_digests(list(self._resolved.links.values()), present)

    def __copy__(self) -> Recording:
        return self

    def __deepcopy__(self, _memo: object) -> Recording:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        digests = self._planned_digests()
        if self._task.done:
            with suppress(DsverError):
                digests = self.digests()
        return RecordedElsewhere, (self.run_id, dict(digests), self._failure)

    def settle(self) -> None:
        """Wait for the record, then write what is left: digests, error tags. Raises nothing."""
        with suppress(DsverError):
            if self.result() is not None:
                self._add_digests()
        self._loaded_manifests.clear()
        self._write_error_tags()
        with _lock:
            if self in _open:
                _open.remove(self)

    def _add_digests(self) -> None:
        """Add the digests of loaded files to the run, within TAG_TIMEOUT. Raises nothing."""
        loaded = dict(self._loaded_manifests)
        if not loaded:
            return
        what = f"add the digests of its files to run {self.run_id}"
        try:
            clients.within(
                self._client,
                Deadline(TAG_TIMEOUT),
                what,
                lambda: add_loaded_digests(self._client, self.run_id, loaded),
            )
        except DsverError as error:
            _logger.warning("run %s: the digests of its files are not on it: %s", self.run_id, one_line(error))

    def discard(self) -> None:
        """Discard the outbox entry: the caller has seen the error."""
        if self._outbox_entry is not None:
            self._outbox_entry.done()

    def _work(self) -> LoggedRecord | None:
        if self._background:
            time.sleep(HEAD_START)
        try:
            logged = self._write()
        except Exception as error:
            if isinstance(error, DsverError):
                self._fail(error)
                self._write_error_tags()
            raise
        if self._failure is not None and logged is not None and logged.no_inputs is None:
            self._withdraw_failure()
        self._write_unresolved()
        return logged

    def _withdraw_failure(self) -> None:
        """The record was completed after its time was over: withdraw the failure."""
        self._failure = None
        self._unwritten_tags.pop(schema.ERROR_TAG, None)
        with suppress(MlflowException):
            self._client.delete_tag(self.run_id, schema.ERROR_TAG)

    def _write(self) -> LoggedRecord | None:
        if not self._resolved.pending:
            return None
        self._outbox_entry = outbox.put(_pending_record(self._client, self._info, self._resolved))
        before = _error_tags(self._resolved)
        resolved = self._resolved = self._resolved.with_files()
        _warn(self.run_id, {key: text for key, text in _error_tags(resolved).items() if key not in before})
        if not overlaps_are_refused():  # otherwise overlaps were checked before the run started
            check_overlaps(resolved.pending)
        pending = list(resolved.pending.values())
        logged = record_writer.write(
            self._client,
            self._info,
            resolved.known,
            pending,
            self._until,
            parent=resolved.parent,
            params=resolved.params,
        )
        if self._outbox_entry is not None:
            if resolved.offline:
                self._outbox_entry.release()  # `sync` will ask the provider
            else:
                self._outbox_entry.done()
        return logged

    def _write_unresolved(self) -> None:
        self._unwritten_tags |= _error_tags(self._resolved)
        self._write_error_tags()

    def _fail(self, error: DsverError) -> None:
        """Keep the first failure, log it and put it into the outbox entry."""
        with self._failing:
            if self._failure is not None:
                return
            self._failure = error
        if isinstance(error, InputConflict) and not self._background:
            return  # the caller gets the error, and the run is unchanged
        text = schema.error_text(error)
        self._unwritten_tags |= {**_error_tags(self._resolved), schema.ERROR_TAG: text}
        _warn(self.run_id, {schema.ERROR_TAG: text})
        if self._outbox_entry is not None:
            self._outbox_entry.fail(text)

    def _write_error_tags(self) -> None:
        tags = dict(self._unwritten_tags)
        if not tags:
            return
        try:
            write_tags(self._client, self.run_id, tags)
        except DsverError as error:
            _logger.info("run %s: its tags cannot be written now: %s", self.run_id, one_line(error))
            return
        for key in tags:
            self._unwritten_tags.pop(key, None)


def begin(client: MlflowClient, info: Any, resolved: ResolvedInputs, *, background: bool) -> Recording:
    """Start to write the record of a run. info: MLflow's RunInfo. background: False if the caller waits for it."""
    _warn(info.run_id, _error_tags(resolved))
    made = Recording(client, info, resolved, background=background)
    with _lock:
        _open[:] = [each for each in _open if not each.over] + [made]
    return made


def settle(run_id: str | None = None) -> None:
    """Wait for the recordings of a run, or for all, within their bounds. Raises nothing."""
    with _lock:
        waiting = [each for each in _open if run_id in (None, each.run_id)]
    for each in waiting:
        each.settle()


def write_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Put tags on a run, within a few seconds. Raises TrackingError."""
    clients.within(
        client,
        Deadline(TAG_TIMEOUT),
        f"put tags on run {run_id}",
        lambda: record_writer.put_tags(client, run_id, tags),
    )


def _warn(run_id: str, tags: Mapping[str, str]) -> None:
    for key, text in tags.items():
        _logger.warning("run %s, %s: %s", run_id, key, text)


def _error_tags(resolved: ResolvedInputs) -> dict[str, str]:
    """Tags with the errors of inputs that could not be resolved, or whose files could not be listed."""
    tags = {schema.key(role, "error"): schema.error_text(error) for role, error in resolved.failed.items()}
    return tags if resolved.refused is None else tags | {schema.ERROR_TAG: schema.error_text(resolved.refused)}


def _pending_record(client: MlflowClient, info: Any, resolved: ResolvedInputs) -> outbox.PendingRecord:
    return outbox.PendingRecord(
        run_id=info.run_id,
        experiment_id=str(info.experiment_id),
        tracking=client.tracking_uri,
        links=tuple(resolved.links.values()),
        offline=resolved.offline,
        overridden={role: each.overridden for role, each in resolved.pending.items() if each.overridden is not None},
        params=resolved.params,
        workspace=clients.workspace_of(client),
    )


def _in_child() -> None:
    """The parent's threads are not here: neither are its recordings."""
    global _lock
    _lock = threading.Lock()
    _open.clear()


def _at_exit(call: Callable[[], object]) -> None:
    """Before the interpreter stops its thread pools, which some artifact stores need for an upload; else at exit."""
    getattr(threading, "_register_atexit", atexit.register)(call)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
_at_exit(settle)


def add_loaded_digests(client: MlflowClient, run_id: str, manifests: Mapping[str, Manifest]) -> None:
    """Add manifests to a record, by role, whose content digest was not known when the run started.

    Such are the files of an export that is fetched during the run. Params, dataset inputs and the grade stay: MLflow
    changes neither of the first two, and the grade says what the link proved when it was made. The digest becomes the
    tag `dsver.R.loaded_digest`.

    The manifest becomes an artifact, and its sum is added to those of the role's artifacts: without that it would
    prove nothing. So neither is written where the run has no sums, or has a manifest already. Raises MlflowException.
    """
    run = client.get_run(run_id)
    tags: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for role, manifest in manifests.items():
        tags[schema.key(role, schema.LOADED_DIGEST)] = manifest.digest
        name, sums = schema.manifest_name(role), schema.key(role, "artifacts")
        before = run.data.tags.get(sums, "")
        known = schema.parse_artifacts(before) or {}
        if schema.json_name(role) in known and name not in known:
            files[name] = manifest.to_bytes()
            tags[sums] = schema.artifacts_text({name: files[name]}, before)
    record_writer.put_tags(client, run_id, tags)
    if files:
        clients.put_files(client, run.info.artifact_uri, schema.FOLDER, files)
