"""What a run is told about its data beside the link: files that two roles share, and changes while it trained.

Both are settings: MLFLOW_DSVER_OVERLAP (`warn`, the default, `raise` or `off`) is looked at when the run starts, or
before it does if that is to be refused; MLFLOW_DSVER_SEAL (`off`, the default, `stat` or `hash`) when its `with`
block ends. A failing seal ends no training.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InvalidArgument, SettingsError
from mlflow_dsver.overlaps import find_overlaps
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients
from mlflow_dsver.tracking.writing import Wanted

_logger = logging.getLogger(__name__)


def overlaps_are_refused() -> bool:
    """Whether files in two roles keep a run from starting, so that they must be looked for before."""
    return _overlap_policy() == "raise"


def say_overlaps(wanted: Mapping[str, Wanted]) -> None:
    """Warn of files that two roles share, or raise InvalidArgument, as the setting says. wanted: by role."""
    policy = _overlap_policy()
    if policy == "off" or len(wanted) < 2:
        return
    manifests = {role: each.manifest for role, each in wanted.items() if each.manifest is not None}
    told = [str(overlap) for overlap in find_overlaps(manifests)]
    if told and policy == "raise":
        raise InvalidArgument(
            "; ".join(told),
            expected="no file in two roles (MLFLOW_DSVER_OVERLAP=raise)",
            done="No run was started",
            tip="mlflow-dsver overlap --input ROLE=REFERENCE … lists them all",
        )
    for text in told:
        _logger.warning("%s", text)


def seal_at_end(run_id: str) -> None:
    """Look at the run's data again, as the setting says, and put on the run what was seen. Raises nothing."""
    try:
        policy = _chosen("SEAL", ("off", "stat", "hash"))
        if policy == "off":
            return
        from mlflow_dsver.checks.seal import seal

        report = seal(run_id, rehash=policy == "hash", tracking_uri=clients.uri_of(run_id))
    except DsverError as error:
        _logger.warning("run %s was not sealed: %s", run_id, one_line(error, 600))
        return
    for each in report.inputs:
        if each.same is not True:
            _logger.warning("run %s, %s input: %s", run_id, each.role, each.text())


def _overlap_policy() -> str:
    return _chosen("OVERLAP", ("warn", "raise", "off"))


def _chosen(name: str, allowed: tuple[str, ...]) -> str:
    """The setting; the first of those allowed when it is not set."""
    value = settings.setting(name) or allowed[0]
    if value not in allowed:
        raise SettingsError(settings.PREFIX + name, expected=", ".join(allowed), got=ascii(value)[:40])
    return value
