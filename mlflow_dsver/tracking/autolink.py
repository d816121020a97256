"""Links runs without a line in the script: MLFLOW_DSVER_INPUTS, or `autolink` called once.

`autolog_patch` calls this module when MLflow starts and ends a run. The policy is `warn` unless MLFLOW_DSVER_ON_ERROR
is set, since a variable must not be a new way for training to fail: errors become a warning and a tag of the run.
Only frozen mode and the policy `raise`, which a person chose, stop a run before it starts.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import mlflow

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError
from mlflow_dsver.resolution import resolver
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
from mlflow_dsver.tracking.active_run import arguments_of
from mlflow_dsver.tracking.resolved_inputs import ResolvedInputs
from mlflow_dsver.tracking.run_hooks import run_is_ending

_logger = logging.getLogger(__name__)
_inputs: dict[str, InputLike] = {}
_on_error: settings.OnError | None = None


def autolink(inputs: Mapping[str, InputLike], *, on_error: settings.OnError | None = None) -> None:
    """Link every run that MLflow starts in this process from now on, autologging's and implicit ones too.

    inputs: role to reference or version (or NewVersion, made at the first run), beside those of MLFLOW_DSVER_INPUTS;
    {} removes those of an earlier call.
    References are resolved at the first run, once for all runs until `autolink` is called again. on_error: `raise`,
    `warn` or `offline`; None takes the setting MLFLOW_DSVER_ON_ERROR, and `warn` without one.
    Raises InvalidReference.
    """
    global _on_error
    references = resolved_inputs.roles(inputs)
    policy = None if on_error is None else api.policy_of(on_error)
    resolver.clear_resolutions()
    _inputs.clear()
    _inputs.update(references)
    _on_error = policy
    autolog_patch.install()


def resolve_for_run(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> ResolvedInputs | None:
    """The resolved inputs of a run that is about to start; None for none. Raises if frozen, or under `raise`."""
    policy: settings.OnError = "warn"
    strict = False
    try:
        by_name = arguments_of(arguments, named)
        strict = settings.switch("FROZEN", default=False)
        policy = _policy()
        resolved = resolved_inputs.resolve_inputs(
            clients.new_client(), _inputs, policy, arguments=by_name, reuse=True
        )
        return resolved if resolved.references and api.writes(resolved_inputs.resumed(by_name)) else None
    except DsverError as error:
        if strict or policy == "raise":
            raise
        return ResolvedInputs(policy, refused=error)
    except Exception as error:
        if strict or policy == "raise":
            raise
        _logger.warning("the run is not linked: %s: %s", type(error).__name__, one_line(error))
        return None


def started(run: Any, resolved: ResolvedInputs | None) -> None:
    """Link MLflow's run that has started. Raises under the policy `raise` only, when the record is waited for."""
    if resolved is None:
        return
    try:
        api.link_started(clients.new_client(), run.info, resolved)
    except Exception as error:
        if resolved.policy == "raise":
            raise
        _logger.warning("run %s is not linked: %s: %s", run.info.run_id, type(error).__name__, one_line(error))


def ending() -> None:
    """The active run is about to end: its record is waited for. Raises nothing."""
    active = mlflow.active_run()
    if active is None:
        return
    async_logging.settle(active.info.run_id)
    if parent_inputs.links_of(active.info.run_id) or opened_files.is_installed():
        run_is_ending(active.info.run_id)


def _policy() -> settings.OnError:
    return _on_error or (settings.on_error() if settings.setting("ON_ERROR") else "warn")
