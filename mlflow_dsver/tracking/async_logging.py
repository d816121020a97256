"""Links being put on a run behind training's back, and what becomes of them when that fails.

Each recording is in the journal before its first request and out of it when the run has the whole of it, so that a
kill loses nothing that `mlflow-dsver sync` cannot send. Whoever needs the record waits for it: the end of the run's
`with` block, `run.inputs`, the end of the program; never longer than MLFLOW_DSVER_TRACKING_TIMEOUT after it began.
What fails is logged and put on the run as a tag; it ends no training. A process that forks leaves its recordings to
the parent.
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

SAYING = 5.0
"""Seconds for writing a tag that tells of an error: the server has most likely just failed to answer."""

HEAD_START = 0.001
"""Seconds that the caller has to go on, before this thread wants the interpreter as well."""

_logger = logging.getLogger(__name__)
_open: list[Recording] = []
_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class RecordedElsewhere:
    """What another process gets of a recording, which stays with the process that makes it.

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
    """One plan on its way to one run. Made by `begin`. A copy is the same; pickled, it is a RecordedElsewhere."""

    def __init__(self, client: MlflowClient, info: Any, plan: ResolvedInputs, *, background: bool) -> None:
        self.run_id: str = info.run_id
        self._client = client
        self._info = info
        self._plan = plan
        self._background = background
        self._process = os.getpid()
        self._until = clients.deadline()
        self._ticket: outbox.OutboxEntry | None = None
        self._failing = threading.Lock()
        self._failure: DsverError | None = None
        self._unsaid: dict[str, str] = {}
        self._given: dict[str, Manifest] = {}
        self._errand: ServerTask[LoggedRecord | None] = ServerTask(client, f"link run {info.run_id}", self._work)

    @property
    def failure(self) -> DsverError | None:
        """Why the run has not the whole record; None when it has, or while that is not known yet."""
        return self._failure

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for or to say."""
        return self._errand.done and not self._unsaid and not self._given

    def files_given(self, role: str, version: DatasetVersion) -> None:
        """Note the files of a version whose content digest the record does not have; `settle` adds it.

        Nothing is noted in a forked child, or where the files are not known one by one. Raises nothing.
        """
        if os.getpid() != self._process:
            return
        try:
            manifest = manifest_of(version)
        except DsverError as error:
            _logger.info("run %s, %s: no digest of its files: %s", self.run_id, role, one_line(error))
            return
        if manifest is not None:
            self._given[role] = manifest
            with _guard:
                if self not in _open:
                    _open.append(self)

    def result(self) -> LoggedRecord | None:
        """What stands on the run, when it stands there; None when nothing was to be recorded.

        Raises TrackingError when it was not recorded in time, and what else kept it from being so; in a forked child
        at once.
        """
        if os.getpid() != self._process:
            return None
        try:
            return self._errand.result(self._until)
        except DsverError as error:
            self._fail(error)
            raise

    def digests(self) -> Mapping[str, str]:
        """Role to the digest of its dataset input, when the record stands on the run. Raises as `result` does."""
        written = self.result()
        return self._planned_digests() if written is None else written.digests

    def _planned_digests(self) -> Mapping[str, str]:
        known = self._plan.known
        present = schema.inputs_present(known) if known is not None else []
        return schema.plan_digests(list(self._plan.links.values()), present)

    def __copy__(self) -> Recording:
        return self

    def __deepcopy__(self, _memo: object) -> Recording:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        digests = self._planned_digests()
        if self._errand.done:
            with suppress(DsverError):
                digests = self.digests()
        return RecordedElsewhere, (self.run_id, dict(digests), self._failure)

    def settle(self) -> None:
        """Wait until nothing more can be done; what failed is on the run if the server takes it. Raises nothing."""
        with suppress(DsverError):
            if self.result() is not None:
                self._add_digests()
        self._given.clear()
        self._say()
        with _guard:
            if self in _open:
                _open.remove(self)

    def _add_digests(self) -> None:
        """Put on the run what the files were that it was given, within a few seconds. Raises nothing."""
        given = dict(self._given)
        if not given:
            return
        what = f"add the digests of its files to run {self.run_id}"
        try:
            clients.within(
                self._client, Deadline(SAYING), what, lambda: add_loaded_digests(self._client, self.run_id, given)
            )
        except DsverError as error:
            _logger.warning("run %s: the digests of its files are not on it: %s", self.run_id, one_line(error))

    def drop(self) -> None:
        """Whoever wanted the record was told that it failed: nobody shall send it later."""
        if self._ticket is not None:
            self._ticket.done()

    def _work(self) -> LoggedRecord | None:
        if self._background:
            time.sleep(HEAD_START)
        try:
            written = self._write()
        except Exception as error:
            if isinstance(error, DsverError):
                self._fail(error)
                self._say()
            raise
        if self._failure is not None and written is not None and written.no_inputs is None:
            self._take_back()
        self._say_unresolved()
        return written

    def _take_back(self) -> None:
        """Nobody waited any more, and now it is there whole: that it failed is not true any longer."""
        self._failure = None
        self._unsaid.pop(schema.ERROR_TAG, None)
        with suppress(MlflowException):
            self._client.delete_tag(self.run_id, schema.ERROR_TAG)

    def _write(self) -> LoggedRecord | None:
        if not self._plan.wanted:
            return None
        self._ticket = outbox.put(_entry(self._client, self._info, self._plan))
        before = _told(self._plan)
        plan = self._plan = self._plan.with_files()
        _warn(self.run_id, {key: text for key, text in _told(plan).items() if key not in before})
        if not overlaps_are_refused():  # else they were looked for before the run started
            check_overlaps(plan.wanted)
        wanted = list(plan.wanted.values())
        written = record_writer.write(self._client, self._info, plan.known, wanted, self._until, parent=plan.parent)
        if self._ticket is not None:
            if plan.offline:
                self._ticket.release()  # `sync` will ask the provider
            else:
                self._ticket.done()
        return written

    def _say_unresolved(self) -> None:
        self._unsaid |= _told(self._plan)
        self._say()

    def _fail(self, error: DsverError) -> None:
        """Note it, once."""
        with self._failing:
            if self._failure is not None:
                return
            self._failure = error
        if isinstance(error, InputConflict) and not self._background:
            return  # the caller is told, and the run is as it was
        text = schema.error_text(error)
        self._unsaid |= {**_told(self._plan), schema.ERROR_TAG: text}
        _warn(self.run_id, {schema.ERROR_TAG: text})
        if self._ticket is not None:
            self._ticket.fail(text)

    def _say(self) -> None:
        tags = dict(self._unsaid)
        if not tags:
            return
        try:
            say(self._client, self.run_id, tags)
        except DsverError as error:
            _logger.info("run %s: its tags cannot be written now: %s", self.run_id, one_line(error))
            return
        for key in tags:
            self._unsaid.pop(key, None)


def begin(client: MlflowClient, info: Any, plan: ResolvedInputs, *, background: bool) -> Recording:
    """Begin to put a plan on a run. info: MLflow's RunInfo. background: whether nobody waits for it now."""
    _warn(info.run_id, _told(plan))
    made = Recording(client, info, plan, background=background)
    with _guard:
        _open[:] = [each for each in _open if not each.over] + [made]
    return made


def settle(run_id: str | None = None) -> None:
    """Wait for the recordings of a run, or for all, within their bounds. Raises nothing."""
    with _guard:
        waiting = [each for each in _open if run_id in (None, each.run_id)]
    for each in waiting:
        each.settle()


def say(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Put tags on a run, within a few seconds. Raises TrackingError."""
    clients.within(
        client, Deadline(SAYING), f"put tags on run {run_id}", lambda: record_writer.put_tags(client, run_id, tags)
    )


def _warn(run_id: str, tags: Mapping[str, str]) -> None:
    for key, text in tags.items():
        _logger.warning("run %s, %s: %s", run_id, key, text)


def _told(plan: ResolvedInputs) -> dict[str, str]:
    """The tags that tell what of a plan could not be resolved or listed."""
    tags = {schema.key(role, "error"): schema.error_text(error) for role, error in plan.failed.items()}
    return tags if plan.refused is None else tags | {schema.ERROR_TAG: schema.error_text(plan.refused)}


def _entry(client: MlflowClient, info: Any, plan: ResolvedInputs) -> outbox.Entry:
    return outbox.Entry(
        run_id=info.run_id,
        experiment_id=str(info.experiment_id),
        tracking=client.tracking_uri,
        links=tuple(plan.links.values()),
        offline=plan.offline,
        overridden={role: each.overridden for role, each in plan.wanted.items() if each.overridden is not None},
    )


def _in_child() -> None:
    """The parent's threads are not here: neither are its recordings."""
    global _guard
    _guard = threading.Lock()
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
