"""The hook at the end of a run that checks whether its data changed, as the setting MLFLOW_DSVER_SEAL requests.

`given`, the default, checks the local copies that this process got, for a few seconds at most, and sends no request
if there are none. `stat` and `hash` check all inputs without a time limit. `off` checks nothing. The hook is an entry
point that `tracking.run_hooks` calls. This module must stay light to import, so it imports `checks.seal` when needed.
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
    """Compare the run's data with the record, as the setting requests, and log the result. Raises nothing."""
    try:
        policy = settings.choice("SEAL", ("given", "off", "stat", "hash"))
        report = None if policy == "off" else _sealed(run_id, policy)
    except Exception as error:  # noqa: BLE001  (a failed check must not fail a finished training)
        _logger.warning("run %s was not sealed: %s", run_id, one_line(error, 600))
        return
    for each in report.inputs if report is not None else ():
        if each.same is not True:
            _logger.warning("run %s, %s input: %s", run_id, each.role, each.text())


def _sealed(run_id: str, policy: str) -> SealReport | None:
    """The report, which is logged on the run; None if there was nothing to check."""
    if policy != "given":
        from mlflow_dsver.checks.seal import seal

        return seal(run_id, rehash=policy == "hash", tracking_uri=clients.uri_of(run_id))
    links = {
        role: link
        for role, link in parent_inputs.links_of(run_id).items()
        if version_files.folder_of(link.version.ref)
    }
    if not links:
        return None
    from mlflow_dsver.checks.seal import check_local_copies, seal_tags

    report = check_local_copies(run_id, links)
    if report.inputs:
        try:
            async_logging.write_tags(clients.new_client(clients.uri_of(run_id)), run_id, seal_tags(report))
        except DsverError as error:
            _logger.warning("run %s: the check of its data could not be logged: %s", run_id, one_line(error, 600))
    return report
