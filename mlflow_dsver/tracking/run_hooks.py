"""What a run is told about its data beside the link: files that two roles share, and changes while it trained.

Both are settings: MLFLOW_DSVER_OVERLAP (`warn`, the default, `raise` or `off`) is looked at when the run starts, or
before it does if that is to be refused; MLFLOW_DSVER_SEAL when it ends: by default (`given`) the files that the
process was given are looked at, for a few seconds at most and without a request unless there are some; `stat` and
`hash` look at all inputs for as long as it takes; `off` at none. A failing look ends no training.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError, InvalidArgument, SettingsError
from mlflow_dsver.model.overlaps import find_overlaps
from mlflow_dsver.resolution import checkouts
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients, parent_inputs
from mlflow_dsver.tracking.record_writer import PendingLink

if TYPE_CHECKING:
    from mlflow_dsver.checks.seal import SealReport

_logger = logging.getLogger(__name__)


def overlaps_are_refused() -> bool:
    """Whether files in two roles keep a run from starting, so that they must be looked for before."""
    return _overlap_policy() == "raise"


def say_overlaps(wanted: Mapping[str, PendingLink]) -> None:
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
        policy = _chosen("SEAL", ("given", "off", "stat", "hash"))
        report = None if policy == "off" else _sealed(run_id, policy)
    except Exception as error:  # noqa: BLE001  (training has ended well, whatever went wrong here)
        _logger.warning("run %s was not sealed: %s", run_id, one_line(error, 600))
        return
    for each in report.inputs if report is not None else ():
        if each.same is not True:
            _logger.warning("run %s, %s input: %s", run_id, each.role, each.text())


def _sealed(run_id: str, policy: str) -> SealReport | None:
    """The report, which is on the run; None when there was nothing to look at."""
    if policy != "given":
        from mlflow_dsver.checks.seal import seal

        return seal(run_id, rehash=policy == "hash", tracking_uri=clients.uri_of(run_id))
    links = {role: link for role, link in parent_inputs.of(run_id).items() if checkouts.folder_of(link.version.ref)}
    if not links:
        return None
    from mlflow_dsver.checks.seal import look_at_given_out, seal_tags
    from mlflow_dsver.tracking import async_logging

    report = look_at_given_out(run_id, links)
    if report.inputs:
        try:
            async_logging.say(clients.new_client(clients.uri_of(run_id)), run_id, seal_tags(report))
        except DsverError as error:
            _logger.warning("run %s: what was seen of its data is not on it: %s", run_id, one_line(error, 600))
    return report


def _overlap_policy() -> str:
    return _chosen("OVERLAP", ("warn", "raise", "off"))


def _chosen(name: str, allowed: tuple[str, ...]) -> str:
    """The setting; the first of those allowed when it is not set."""
    value = settings.setting(name) or allowed[0]
    if value not in allowed:
        raise SettingsError(settings.PREFIX + name, expected=", ".join(allowed), got=ascii(value)[:40])
    return value
