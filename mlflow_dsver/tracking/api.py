"""Run start and linking: the functions that a training script calls.

References are resolved before a run is created, so that a bad one leaves no run behind (`resolved_inputs`). The run
is found in the caller's thread and identified by its id from there on, so that nothing is logged to another run. The
record is written while training goes on (`async_logging`). `on_error` decides what happens when a provider or the
tracking server fails: `raise` (the default); `warn`: training goes on, a warning is logged and a tag of the run
(`dsver.R.error`, or `dsver.error` for the whole record) has the error; `offline`: as `warn`, and the last known
resolution is used where a provider is unreachable. Malformed calls, and conflicts with what is on the run, are errors
under each policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import mlflow
from mlflow import MlflowClient

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InputConflict, InvalidArgument, NotFound
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.record import reader
from mlflow_dsver.record.recorded_elsewhere import recorded_elsewhere
from mlflow_dsver.resolution import ranks
from mlflow_dsver.resolution.version_files import InputLike, RefLike, as_written
from mlflow_dsver.tracking import async_logging, clients, dataset_changes, parent_inputs, resolved_inputs
from mlflow_dsver.tracking.active_run import LinkedDataset, LinkedRun, give_up_run, start_with_retry
from mlflow_dsver.tracking.async_logging import Recording
from mlflow_dsver.tracking.autolog_patch import suppress_autolink
from mlflow_dsver.tracking.mlflow_private import arguments_of
from mlflow_dsver.tracking.resolved_inputs import ResolvedInputs
from mlflow_dsver.tracking.source import RUN_TO_RESUME

ATTACHED_LATER = "attached later"


def start_run(
    *arguments: Any,
    inputs: Mapping[str, InputLike] | None = None,
    on_error: settings.OnError | None = None,
    **named: Any,
) -> LinkedRun:
    """Start or resume a run, as `mlflow.start_run` does, and link dataset versions to it.

    inputs: role (`training`, `validation`, …) to reference or version, or to a NewVersion, which is made then; None
    for those of the parent run, if there is one that was linked. on_error: `raise`, `warn` or `offline`; None takes
    the setting MLFLOW_DSVER_ON_ERROR.
    Everything else goes to `mlflow.start_run`.
    Gives MLflow's own run, with `datasets` (role to LinkedDataset) added and `inputs` filled.

    A child of a linked run reuses its parent's resolved versions for the same references. A run that is resumed keeps
    what it started with: a role with the same reference has the recorded version, even if `latest` or a tag has moved
    since, which is logged. A reference to another version raises InputConflict before anything is written. Other
    errors: those of the provider, LockConflict in frozen mode, and TrackingError, which a server that does not answer
    is under all policies, since without it there is no run.

    The record is written while training goes on, unless MLFLOW_DSVER_BACKGROUND=no. What fails then is a warning and
    a tag of the run, and stays in the outbox for `mlflow-dsver sync`.
    """
    policy, client = policy_of(on_error), clients.new_client()
    by_name = arguments_of(mlflow.start_run, arguments, named)
    if inputs is None:
        inputs = {role: link.requested for role, link in parent_inputs.parent_links(client, by_name).items()}
    resumed = resolved_inputs.resumed(by_name)
    if resumed:
        by_name["run_id"] = resumed
        async_logging.settle(resumed)  # if this process has just created it, its record is not read half-written
    resolved = resolved_inputs.resolve_inputs(client, inputs, policy, arguments=by_name, run_id=resumed)

    def start() -> Any:
        with suppress_autolink():
            return mlflow.start_run(**by_name)

    started = start_with_retry(client, start, clients.deadline())
    clients.remember(started.info.run_id, client)
    if not resolved.references:
        return LinkedRun(started, {})
    if not writes(resumed):
        return LinkedRun(started, _datasets(resolved, None))
    try:
        recording = link_started(client, started.info, resolved)
    except BaseException:
        give_up_run(started.info.run_id)
        raise
    return LinkedRun(started, _datasets(resolved, recording), recording)


def use(ref: InputLike, role: str = "training", *, on_error: settings.OnError | None = None) -> LinkedDataset:
    """Link a version to the run that is active in this thread; with none, one is started, as MLflow itself does.

    The link is on the run when this returns; of ranks that all resume the run of MLFLOW_RUN_ID, the first sees to
    that, and the others have the same version. Raises InputConflict when the run has another version in that role,
    the provider's errors, LockConflict in frozen mode, and TrackingError.
    """
    policy, references = policy_of(on_error), resolved_inputs.roles({role: ref})
    active = mlflow.active_run()
    client = clients.new_client() if active is None else clients.client_of(active.info.run_id)
    parents, own = (
        (parent_inputs.parent_links_of(active), parent_inputs.links_of(active.info.run_id))
        if active is not None
        else ({}, {})
    )
    resolved = resolved_inputs.resolve_roles(references, policy, parent_links=parents, own=own)
    if active is None:
        active = start_with_retry(client, mlflow.start_run, clients.deadline())
        clients.remember(active.info.run_id, client)
    if not writes(active.info.run_id == RUN_TO_RESUME):
        return _datasets(resolved, None)[role]
    async_logging.settle(active.info.run_id)
    made = link_started(client, active.info, resolved, background=False)
    return _datasets(resolved, made)[role]


def attach(run_id: str, ref: RefLike, role: str = "training") -> LinkedDataset:
    """Link a version to any run, such as one that is over; the grade then says `attached later`.

    Raises RunNotFound, InputConflict, the provider's errors, and TrackingError.
    """
    if not isinstance(ref, DatasetVersion):
        parse(ref)  # a run that is there cannot have used a version that is made now
    references = resolved_inputs.roles({role: ref})
    client = clients.new_client()
    known: Any = clients.read_run(client, clients.deadline(), run_id)
    resolved = resolved_inputs.resolve_roles(references, "raise", known=known, unconditional=True)
    have, found = reader.links_of(known).get(role), resolved.pending[role]
    grade = have.grade if have else found.link.grade.with_notes(ATTACHED_LATER)
    resolved = replace(resolved, pending={role: replace(found, link=replace(found.link, grade=grade))})
    return _datasets(resolved, link_started(client, known.info, resolved, background=False))[role]


def attach_recorded(run_id: str) -> dict[str, LinkedDataset]:
    """Link what MLflow's own sources or other tools recorded on a run, as far as they name one exact version.

    Role to what was linked. Raises NotFound when they name none, and what `attach` raises.
    """
    client = clients.new_client()
    run: Any = clients.read_run(client, clients.deadline(), run_id)
    found = recorded_elsewhere(run, reader.all_links_of(run))
    if not found.links:
        raise NotFound(
            "neither MLflow nor another tool recorded an exact version that a provider understands",
            provider="mlflow",
            operation="attach",
            reference=run_id,
            got=", ".join(found.inexact) or "no other record",
            tip=f"mlflow-dsver attach {run_id} REFERENCE",
        )
    return {link.role: attach(run_id, str(link.version.ref), link.role) for link in found.links}


def link_started(
    client: MlflowClient, info: Any, resolved: ResolvedInputs, *, background: bool | None = None
) -> Recording:
    """Write the record of a run that has started. info: MLflow's RunInfo. background: None takes the setting.

    Raises what keeps the record from being written, if that is waited for and the policy is `raise`; a conflict
    always.
    """
    if background is None:
        background = settings.switch("BACKGROUND", default=True)
        resolved = resolved.with_changes(
            dataset_changes.log_dataset_changes(
                client.tracking_uri, str(info.experiment_id), resolved.pending.values()
            )
        )
    clients.remember(info.run_id, client)
    parent_inputs.remember(info.run_id, resolved.links)
    made = async_logging.begin(client, info, resolved, background=background)
    if background:
        return made
    try:
        made.result()
    except DsverError as error:
        if resolved.policy == "raise" or isinstance(error, InputConflict):
            made.discard()
            raise
    finally:
        made.settle()
    return made


def writes(resumed: object) -> bool:
    """Whether this process links the run: of the ranks that resume one, the first does."""
    rank = ranks.current() if resumed else None
    return rank is None or rank.number == 0


def _datasets(resolved: ResolvedInputs, recording: Recording | None) -> dict[str, LinkedDataset]:
    pending, failed = resolved.pending, resolved.failed
    return {
        role: LinkedDataset(role, as_written(ref), pending[role].link, None, recording)
        if role in pending
        else LinkedDataset(role, as_written(ref), None, failed[role])
        for role, ref in resolved.references.items()
    }


def policy_of(on_error: settings.OnError | None) -> settings.OnError:
    """The policy as given, else as set. Raises InvalidArgument and SettingsError."""
    if on_error is None:
        return settings.on_error()
    if on_error not in get_args(settings.OnError):
        raise InvalidArgument("on_error", expected="raise, warn or offline", got=ascii(on_error)[:40])
    return on_error
