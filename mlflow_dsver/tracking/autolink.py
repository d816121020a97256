"""Links runs without a line in the script: MLFLOW_DSVER_INPUTS, or `autolink` called once.

`autolog_patch` calls this module when MLflow starts and ends a run. The policy is `warn` unless MLFLOW_DSVER_ON_ERROR
is set, since a variable must not be a new way for training to fail: errors become a warning and a tag of the run.
Only frozen mode and the policy `raise`, which a person chose, stop a run before it starts. For the same reason a
link has no params here unless MLFLOW_DSVER_PARAMS says so, since scripts read the params of a run back into a model.
Its tags say the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import mlflow

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InvalidArgument
from mlflow_dsver.record import schema
from mlflow_dsver.resolution import resolver
from mlflow_dsver.resolution.inputs import configured_inputs
from mlflow_dsver.resolution.version_files import InputLike
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import (
    api,
    async_logging,
    autolog_patch,
    clients,
    opened_files,
    parent_inputs,
    resolved_inputs,
)
from mlflow_dsver.tracking.resolved_inputs import ResolvedInputs
from mlflow_dsver.tracking.run_hooks import run_is_ending

PARAMS: settings.LoggedParams = "none"
"""Params of a link that no line in the script asked for, unless it is set otherwise."""

_logger = logging.getLogger(__name__)
_inputs: dict[str, InputLike] = {}
_on_error: settings.OnError | None = None
_params: settings.LoggedParams | None = None


def autolink(
    inputs: Mapping[str, InputLike],
    *,
    on_error: settings.OnError | None = None,
    params: settings.LoggedParams | None = None,
) -> None:
    """Link every run that MLflow starts in this process from now on, whoever starts it.

    That includes runs of autologging, implicit ones, and those of `MlflowClient.create_run`; of the latter, a child
    of a linked run has its parent's versions. The setting MLFLOW_DSVER_AUTOLINK leaves some or all of them out.
    inputs: role to reference or version (or NewVersion, made at the first run), beside those of MLFLOW_DSVER_INPUTS;
    {} removes those of an earlier call.
    References are resolved at the first run, once for all runs until `autolink` is called again. on_error: `raise`,
    `warn` or `offline`; None takes the setting MLFLOW_DSVER_ON_ERROR, and `warn` without one. params: how much of a
    link is logged as params: `full`, `short` (the version alone) or `none`; None takes the setting
    MLFLOW_DSVER_PARAMS, and `none` without one. Raises InvalidReference and InvalidArgument.
    """
    global _on_error, _params
    references = resolved_inputs.roles(inputs)
    policy = None if on_error is None else api.policy_of(on_error)
    if params is not None and params not in get_args(settings.LoggedParams):
        raise InvalidArgument("params", expected="full, short or none", got=ascii(params)[:40])
    resolver.clear_resolutions()
    _inputs.clear()
    _inputs.update(references)
    _on_error, _params = policy, params
    autolog_patch.install()


def resolve_for_run(arguments: Mapping[str, Any]) -> ResolvedInputs | None:
    """The resolved inputs of a run that `mlflow.start_run` is about to start; None when it is not to be linked.

    arguments: those of `mlflow.start_run`. Raises if frozen, or under `raise`.
    """

    return _resolve(None, arguments, ("all", "fluent"), run_id=resolved_inputs.resumed(arguments))


def resolve_for_created_run(tracking_uri: str, arguments: Mapping[str, Any]) -> ResolvedInputs | None:
    """The same for a run that `MlflowClient.create_run` is about to create; arguments: those of that method.

    Left out are copies of linked runs, which are created with the record's tags, and runs of `mlflow run`, which the
    project's own process resumes and links.
    """
    tags = arguments.get("tags") or {}
    if schema.SCHEMA_TAG in tags or tags.get("mlflow.source.type") == "PROJECT":
        return None
    return _resolve(tracking_uri, arguments, ("all",), as_parent=True)


def started(run: Any, resolved: ResolvedInputs | None, tracking_uri: str | None = None) -> None:
    """Link MLflow's run that has started. Raises under the policy `raise` only, when the record is waited for.

    tracking_uri: of the store that has the run; None for MLflow's current one.
    """
    if resolved is None:
        return
    try:
        api.link_started(clients.new_client(tracking_uri), run.info, resolved)
    except Exception as error:
        if resolved.policy == "raise":
            raise
        _logger.warning("run %s is not linked: %s: %s", run.info.run_id, type(error).__name__, one_line(error))


def ending(run_id: str | None = None) -> None:
    """A run is about to end: its record is waited for. None means this thread's active run. Raises nothing."""
    if run_id is None:
        active = mlflow.active_run()
        if active is None:
            return
        run_id = active.info.run_id
    async_logging.settle(run_id)
    if parent_inputs.links_of(run_id) or opened_files.is_installed():
        run_is_ending(run_id)


def _resolve(
    tracking_uri: str | None,
    arguments: Mapping[str, Any],
    linked: tuple[str, ...],
    *,
    run_id: str | None = None,
    as_parent: bool = False,
) -> ResolvedInputs | None:
    """The resolved inputs; None without any, when the setting AUTOLINK is none of `linked`, and in ranks but one.

    run_id, as_parent: as for `resolve_inputs`. Errors are raised if frozen or under `raise`, else told by a tag.
    """
    policy: settings.OnError = "warn"
    strict = False
    try:
        strict = settings.switch("FROZEN", default=False)
        policy = _on_error or (settings.on_error() if settings.setting("ON_ERROR") else "warn")
        if settings.choice("AUTOLINK", ("all", "fluent", "none")) not in linked:
            return None
        if not _inputs and not configured_inputs():
            return None
        if run_id:
            async_logging.settle(run_id)  # if this process has just created it, its record is not read half-written
        resolved = resolved_inputs.resolve_inputs(
            clients.new_client(tracking_uri),
            _inputs,
            policy,
            arguments=arguments,
            run_id=run_id,
            reuse=True,
            as_parent=as_parent,
        )
        params = _params or resolved_inputs.logged_params(PARAMS)
        return replace(resolved, params=params) if api.writes(run_id) else None
    except DsverError as error:
        if strict or policy == "raise":
            raise
        return ResolvedInputs(policy, refused=error)
    except Exception as error:
        if strict or policy == "raise":
            raise
        _logger.warning("the run is not linked: %s: %s", type(error).__name__, one_line(error))
        return None
