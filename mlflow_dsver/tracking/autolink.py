"""Runs linked without a line in the script: by MLFLOW_DSVER_INPUTS, or by `autolink` once in the code.

What `seam` calls when MLflow starts and ends a run. The policy is `warn` unless MLFLOW_DSVER_ON_ERROR says otherwise,
since a variable must not be a new way for training to fail: what is wrong is a warning and a tag of the run. Only
what the person was strict about stops a run before it starts: frozen mode, and the policy `raise`.
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
from mlflow_dsver.tracking import api, async_logging, autolog_patch, clients, parent_inputs, resolved_inputs
from mlflow_dsver.tracking.active_run import arguments_of
from mlflow_dsver.tracking.resolved_inputs import ResolvedInputs
from mlflow_dsver.tracking.run_hooks import run_is_ending

_logger = logging.getLogger(__name__)
_inputs: dict[str, InputLike] = {}
_on_error: settings.OnError | None = None


def autolink(inputs: Mapping[str, InputLike], *, on_error: settings.OnError | None = None) -> None:
    """Link every run that MLflow starts in this process from now on, autologging's and implicit ones too.

    inputs: role to reference or version (or NewVersion, made at the first run), beside those of MLFLOW_DSVER_INPUTS;
    {} takes back what was said before.
    References are resolved at the first run, once for all runs until `autolink` is called again. on_error: `raise`,
    `warn` or `offline`; None takes the setting MLFLOW_DSVER_ON_ERROR, and `warn` without one.
    Raises InvalidReference.
    """
    global _on_error
    asked = resolved_inputs.roles(inputs)
    policy = None if on_error is None else api.policy_of(on_error)
    resolver.ask_anew()
    _inputs.clear()
    _inputs.update(asked)
    _on_error = policy
    autolog_patch.install()


def planned(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> ResolvedInputs | None:
    """What the run that is about to start will be linked to; None for nothing. Raises only if a person is strict."""
    policy: settings.OnError = "warn"
    strict = False
    try:
        by_name = arguments_of(arguments, named)
        strict = settings.switch("FROZEN", default=False)
        policy = _policy()
        plan = resolved_inputs.plan(clients.new_client(), _inputs, policy, arguments=by_name, reuse=True)
        return plan if plan.asked and api.writes(resolved_inputs.resumed(by_name)) else None
    except DsverError as error:
        if strict or policy == "raise":
            raise
        return ResolvedInputs(policy, refused=error)
    except Exception as error:
        if strict or policy == "raise":
            raise
        _logger.warning("the run is not linked: %s: %s", type(error).__name__, one_line(error))
        return None


def started(run: Any, plan: ResolvedInputs | None) -> None:
    """Put the plan on MLflow's run that has started. Raises only under the policy `raise`, when it is waited for."""
    if plan is None:
        return
    try:
        api.link_started(clients.new_client(), run.info, plan)
    except Exception as error:
        if plan.policy == "raise":
            raise
        _logger.warning("run %s is not linked: %s: %s", run.info.run_id, type(error).__name__, one_line(error))


def ending() -> None:
    """The active run is about to end: its record is waited for. Raises nothing."""
    active = mlflow.active_run()
    if active is None:
        return
    async_logging.settle(active.info.run_id)
    if parent_inputs.links_of(active.info.run_id):
        run_is_ending(active.info.run_id)


def _policy() -> settings.OnError:
    return _on_error or (settings.on_error() if settings.setting("ON_ERROR") else "warn")
