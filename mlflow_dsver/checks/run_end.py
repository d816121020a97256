"""At the end of a run: whether its data changed while it trained, as MLFLOW_DSVER_SEAL says.

By default (`given`) the files that this process was given are looked at, for a few seconds at most and without a
request if there are none; `stat` and `hash` look at all inputs for as long as it takes; `off` at none. Registered as
an entry point and called by `tracking.run_hooks`; the check itself is in `checks.seal`, imported when it is needed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError
from mlflow_dsver.resolution import version_files
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import async_logging, clients, parent_inputs

if TYPE_CHECKING:
    from mlflow_dsver.checks.seal import SealReport

_logger = logging.getLogger(__name__)


def seal_at_end(run_id: str) -> None:
    """Compare the run's data with the record, as the setting says, and log the result on the run. Raises nothing."""
    try:
        policy = settings.choice("SEAL", ("given", "off", "stat", "hash"))
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
    links = {
        role: link for role, link in parent_inputs.of(run_id).items() if version_files.folder_of(link.version.ref)
    }
    if not links:
        return None
    from mlflow_dsver.checks.seal import look_at_given_out, seal_tags

    report = look_at_given_out(run_id, links)
    if report.inputs:
        try:
            async_logging.say(clients.new_client(clients.uri_of(run_id)), run_id, seal_tags(report))
        except DsverError as error:
            _logger.warning("run %s: what was seen of its data is not on it: %s", run_id, one_line(error, 600))
    return report
