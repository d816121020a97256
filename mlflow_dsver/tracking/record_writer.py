"""Writes the record of links to a run: one log_batch, one log_inputs, one read, then the artifacts.

The read gets this run and the linked runs before it in one search, and shows what MLflow drops without an error: a
second role of a dataset, or an input lost in a race. What is on the run already is neither written again nor changed,
so writing twice is safe. Everything here runs in a bounded task and checks the deadline between steps; the caller
reports a record that is written in part.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Param, RunTag
from mlflow.exceptions import MlflowException

from mlflow_dsver.deadlines import Deadline, DeadlineExceeded
from mlflow_dsver.errors import DsverError, IncompleteRecord, InputConflict, TrackingError
from mlflow_dsver.model.differences import Difference, difference
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.versions import Link
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record import card, reader, schema
from mlflow_dsver.resolution.version_files import manifest_of
from mlflow_dsver.settings import LoggedParams
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients, mlflow_private
from mlflow_dsver.tracking.dataset import dataset_input

TRIES = 8
"""How often a call is made that lost a race; of 8 runs that use a new dataset at once, one in ten loses the first."""

BATCH = 100
"""Params, and tags, that MLflow takes in one request."""

COMPARED_FILES = 100_000
"""Files of a version up to which the card says what changed since the last run: reading more takes seconds."""
RECENT = 12
"""Earlier runs that the card compares: the last is compared, those with the same versions are named."""

_logger = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PendingLink:
    """A link to be recorded.

    manifest: the version's; None when nobody knows its files. overridden: what the script requested, when a
    person overrode it with another version; None otherwise. changes: of the files, and since which version; None
    when that is not known.
    """

    link: Link
    manifest: Manifest | None = None
    overridden: str | None = None
    changes: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """What stands on the run now: MLflow's run entity, and role to the digest of its dataset input.

    no_inputs: why the server took no dataset inputs; None when it did.
    """

    run: Any
    digests: Mapping[str, str]
    no_inputs: str | None = None


def write(
    client: MlflowClient,
    info: Any,
    known: Any,
    pending: Sequence[PendingLink],
    deadline: Deadline,
    *,
    parent: str | None = None,
    all_artifacts: bool = False,
    params: LoggedParams = "full",
) -> LoggedRecord:
    """Record the links on the run.

    info: MLflow's RunInfo. known: the run entity as last read, None when it was not read. parent: the run that has
    the same versions and whose child this is: a sweep asks its server for nothing else. all_artifacts: write them
    even if the run seems to have them. params: how much of a link that is not on the run is logged as params.
    Raises InputConflict before anything is written, MlflowException and
    DeadlineExceeded at any point.
    """
    unwritten = pending if all_artifacts else _without_artifacts(known, pending)
    files = {each.link.role: schema.artifacts(each.link, each.manifest) for each in unwritten}
    before, known = known, _log_batch(client, info.run_id, known, pending, deadline, files, params)
    if known is not before:
        unwritten = _without_artifacts(known, unwritten)
    no_inputs = _log_inputs(client, info.run_id, known, pending, deadline)
    run, others = _read_back(client, info, deadline) if parent is None else (_read(client, info, deadline), [])
    if no_inputs is None:
        run = _complete_inputs(client, run, pending, deadline)
    details = schema.differences(run, _links(pending), inputs=no_inputs is None)
    if details:
        raise TrackingError(
            f"MLflow took the record of run {info.run_id} and does not show it: {', '.join(details)}",
            details=details,
            tip="the same call again; it writes only what is missing",
        )
    if unwritten:
        related = _related_runs(info, others, _links(pending))
        previous = (
            _previous_run(others[0] if others else None, pending) if parent is None else _as_previous(parent, pending)
        )
        contents = {name: content for each in unwritten for name, content in files[each.link.role].items()}
        try:
            _log_artifacts(client, info, unwritten, contents, run, previous, no_inputs is not None, related, deadline)
        except DeadlineExceeded:
            raise
        except Exception as error:
            raise incomplete(info.run_id, contents, error, inputs=no_inputs is None) from error
    _clear_errors(client, run, pending, no_inputs, deadline)
    links = _links(pending)
    return LoggedRecord(run, schema.plan_digests(links, schema.inputs_present(run)), no_inputs)


def incomplete(run_id: str, names: Iterable[str], error: Exception, *, inputs: bool = True) -> IncompleteRecord:
    """The error of a run that has all of its links but the files, which its artifact store did not take.

    names: of the files, beside the card. inputs: whether the server took the dataset inputs.
    """
    missing = ", ".join(f"{schema.FOLDER}/{name}" for name in (*names, schema.CARD_NAME))
    return IncompleteRecord(
        f"run {run_id} is linked by params, tags{' and dataset inputs' if inputs else ''}; missing: {missing}",
        got=clients.error_text(error),
        tip="see that this process may write to the run's artifact location, then mlflow-dsver sync",
    )


def refuse_conflicts(run: Any, links: Sequence[Link]) -> None:
    """Raise InputConflict when the run has another version in one of the roles."""
    for link in links:
        recorded = reader.version_text(run, link.role)
        if recorded is not None and recorded != str(link.version.ref):
            raise InputConflict(
                f"run {run.info.run_id} has another version in the role {link.role!r} already",
                reference=link.requested,
                expected=recorded,
                got=link.version.ref,
                done="Nothing was written",
                tip=f"{recorded} to go on with the same data, a new run, or another role",
                details={schema.key(link.role, "version"): (recorded, str(link.version.ref))},
            )


def put_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags on a run, in one request."""
    log_batch(client, run_id, tags=tags)


def log_batch(
    client: MlflowClient, run_id: str, *, params: Mapping[str, str] | None = None, tags: Mapping[str, str]
) -> None:
    """Write params and tags, in one request if MLflow takes so many; they are there when this returns."""
    all_params = [Param(key, value) for key, value in (params or {}).items()]
    all_tags = [RunTag(key, value) for key, value in tags.items()]
    for start in range(0, max(len(all_params), len(all_tags)), BATCH):
        client.log_batch(
            run_id,
            params=all_params[start : start + BATCH],
            tags=all_tags[start : start + BATCH],
            synchronous=True,  # also with asynchronous logging switched on: the record is read back at once
        )


def _log_batch(
    client: MlflowClient,
    run_id: str,
    known: Any,
    pending: Sequence[PendingLink],
    deadline: Deadline,
    files: Mapping[str, Mapping[str, bytes]],
    logged: LoggedParams,
    limit: int = schema.VALUE_LIMIT,
) -> Any:
    """Write params and tags that are not there; hand back the run as known, which a refusal may have changed.

    files: role to the artifacts that are about to be written, whose sums replace those of an earlier attempt.
    logged: how much of a link that is not on the run is logged as params.
    limit: characters of a label at most. A server that takes no long ones refuses the version together with them, so
    what was refused is written once more with short ones.
    """
    links = _links(pending)
    if known is not None:
        refuse_conflicts(known, links)
    have_params = known.data.params if known is not None else {}
    have_tags = known.data.tags if known is not None else {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    for each in pending:
        new = known is None or reader.version_text(known, each.link.role) is None
        how = logged if new else schema.logged_params(have_params, each.link.role)
        params |= schema.params(each.link, limit, how)
        tags |= schema.tags(each.link, each.overridden, limit, how)
    params = {key: value for key, value in params.items() if key not in have_params}
    tags = {key: value for key, value in tags.items() if key not in have_tags}
    for role in sorted(files):
        name = schema.key(role, "artifacts")
        sums = schema.artifacts_text(files[role], have_tags.get(name, ""))
        if have_tags.get(name) != sums:
            tags[name] = sums
    if not params and not tags:
        return known
    deadline.check("log params and tags")
    try:
        _retry_lost_races(lambda: log_batch(client, run_id, params=params, tags=tags), deadline)
    except MlflowException as error:
        if not mlflow_private.is_refused_value(error):
            raise
        if known is None:
            current = client.get_run(run_id)
            if any(reader.version_text(current, link.role) for link in links):
                unwritten = {each.link.role for each in _without_artifacts(current, pending)}
                files = {role: files[role] for role in files if role in unwritten}
                return _log_batch(client, run_id, current, pending, deadline, files, logged)
        longest = max(map(len, [*params.values(), *tags.values()]))
        if min(longest, limit) <= schema.SHORT_LIMIT:
            raise
        _logger.info("run %s: labels are cut, since the server refuses long values: %s", run_id, one_line(error))
        return _log_batch(client, run_id, known, pending, deadline, files, logged, schema.SHORT_LIMIT)
    return known


def _log_inputs(
    client: MlflowClient, run_id: str, known: Any, pending: Sequence[PendingLink], deadline: Deadline
) -> str | None:
    """Write the dataset inputs that are not there; gives the reason when the server has no such thing."""
    deadline.check("log dataset inputs")
    present = schema.inputs_present(known) if known is not None else []
    digests = schema.plan_digests(_links(pending), present)
    datasets = [
        dataset_input(
            each.link,
            digests[each.link.role],
            schema.file_count(each.link.version, each.manifest),
            each.changes,
        )
        for each in pending
        if (str(each.link.version.ref), digests[each.link.role], each.link.role) not in present
    ]
    if not datasets:
        return None
    try:
        _retry_lost_races(lambda: client.log_inputs(run_id, datasets=datasets), deadline)
    except MlflowException as error:
        if not mlflow_private.is_missing_endpoint(error):
            raise
        reason = f"{schema.NO_INPUTS} ({error.error_code}): linked by params and tags alone"
        _logger.warning("run %s: %s", run_id, reason)
        put_tags(client, run_id, {schema.ERROR_TAG: reason})
        return reason
    return None


def _read(client: MlflowClient, info: Any, deadline: Deadline) -> Any:
    deadline.check("read the record back")
    return client.get_run(info.run_id)


def _read_back(client: MlflowClient, info: Any, deadline: Deadline) -> tuple[Any, list[Any]]:
    """This run, and the last linked runs of its experiment before it, newest first, in one request."""
    deadline.check("read the record back")
    found: Sequence[Any] = ()
    try:
        found = client.search_runs(
            [info.experiment_id],
            f"tags.`{schema.SCHEMA_TAG}` = '{schema.SCHEMA}' AND attributes.start_time <= {int(info.start_time)}",
            max_results=RECENT,
            order_by=["attributes.start_time DESC"],
        )
    except MlflowException as error:
        _logger.debug("the last run is not known: %s", one_line(error))
    mine = next((run for run in found if run.info.run_id == info.run_id), None)
    others = [run for run in found if run.info.run_id != info.run_id]
    return mine or client.get_run(info.run_id), others


def _complete_inputs(client: MlflowClient, run: Any, pending: Sequence[PendingLink], deadline: Deadline) -> Any:
    """Write once more the inputs that are not on the run: MLflow dropped them, in a race or as a second role."""
    if not schema.missing_inputs(run, _links(pending)):
        return run
    _log_inputs(client, run.info.run_id, run, pending, deadline)
    return _read(client, run.info, deadline)


def _without_artifacts(run: Any, pending: Sequence[PendingLink]) -> list[PendingLink]:
    """Those whose artifacts are to be written: the run does not have the whole record yet."""
    return [each for each in pending if not schema.has_artifacts(run, each.link)]


def _links(pending: Iterable[PendingLink]) -> list[Link]:
    return [each.link for each in pending]


def _log_artifacts(
    client: MlflowClient,
    info: Any,
    pending: Sequence[PendingLink],
    contents: Mapping[str, bytes],
    run: Any,
    previous: card.PreviousRun | None,
    without_inputs: bool,
    related: card.RelatedRuns,
    deadline: Deadline,
) -> None:
    links = {**reader.links_of(run), **{each.link.role: each.link for each in pending}}
    counts = {each.link.role: schema.file_count(each.link.version, each.manifest) for each in pending}
    text = card.render(
        [links[role] for role in sorted(links)],
        {role: count for role, count in counts.items() if count is not None},
        previous,
        without_inputs,
        related,
        {role: run.data.tags[name] for role in links if (name := schema.key(role, "overridden")) in run.data.tags},
    )
    files = {**contents, schema.CARD_NAME: text.encode("utf-8", "backslashreplace")}
    deadline.check("log artifacts")
    clients.put_files(client, info.artifact_uri, schema.FOLDER, files)


def _related_runs(info: Any, others: Sequence[Any], links: Sequence[Link]) -> card.RelatedRuns:
    """Those of the other runs that have one of the same versions."""
    refs = {link.version.ref for link in links}
    candidates = [(run.info.run_id, run.info.run_name or "", reader.links_of(run)) for run in others]
    mine = [each for each in candidates if refs & {link.version.ref for link in each[2].values()}]
    return card.RelatedRuns(str(info.experiment_id), mine, mlflow_private.active_workspace())


def _as_previous(run_id: str, pending: Sequence[PendingLink]) -> card.PreviousRun:
    return card.PreviousRun(run_id, "its parent run", {each.link.role: each.link for each in pending})


def _previous_run(run: Any, pending: Sequence[PendingLink]) -> card.PreviousRun | None:
    if run is None:
        return None
    links = reader.links_of(run)
    files = {}
    for each in pending:
        former = links.get(each.link.role)
        changed = _files_changed(former, each) if former is not None else None
        if changed is not None:
            files[each.link.role] = changed
    return card.PreviousRun(run.info.run_id, run.info.run_name or "", links, files)


def _files_changed(former: Link, now: PendingLink) -> Difference | None:
    """The difference of the files, where both manifests are available; the card may omit it."""
    if now.manifest is None or len(now.manifest) > COMPARED_FILES or former.version.ref == now.link.version.ref:
        return None
    try:
        ref = former.version.ref
        version = get_provider(ref.provider).get(ref.dataset, ref.selector or "")
        if (schema.file_count(version) or 0) > COMPARED_FILES:
            return None
        manifest = manifest_of(version)
    except DsverError as error:
        _logger.debug("the files of %s are not compared: %s", former.version.ref, error)
        return None
    return None if manifest is None else difference(manifest, now.manifest)


def _clear_errors(
    client: MlflowClient, run: Any, pending: Sequence[PendingLink], no_inputs: str | None, deadline: Deadline
) -> None:
    """Delete the error tags of a failed attempt, now that the record is complete."""
    keys = {schema.key(each.link.role, "error") for each in pending} | (set() if no_inputs else {schema.ERROR_TAG})
    tags = run.data.tags
    for key in (key for key in keys & set(tags) if not tags[key].startswith(schema.OFFLINE_FINDING)):
        deadline.check("take back an error")
        client.delete_tag(run.info.run_id, key)


def _retry_lost_races(call: Callable[[], T], deadline: Deadline) -> T:
    """Call again when MLflow lost a race on a dataset's first use, which it reports as a bad request."""
    for attempt in range(TRIES):
        try:
            return call()
        except MlflowException as error:
            if attempt == TRIES - 1 or not mlflow_private.is_lost_race(error):
                raise
            deadline.check("try again after a race")
            deadline.sleep(random.uniform(0.01, 0.02 * 2**attempt))  # noqa: S311  (no secret)
    raise AssertionError("unreachable")
