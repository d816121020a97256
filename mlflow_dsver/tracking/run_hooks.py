"""Checks beside the link itself: files that two roles share when a run starts, and callbacks when a run ends.

MLFLOW_DSVER_OVERLAP (`warn`, the default, `raise` or `off`) decides about shared files, which are looked for before
the run starts if they are to be refused, else afterwards. What runs at the end of a run is not imported here: it is
found by entry point in the group `mlflow_dsver.run_end`, whose objects are called with the run's id.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from mlflow_dsver import plugins, settings
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.differences import find_overlaps
from mlflow_dsver.text import error_line
from mlflow_dsver.tracking.record_writer import PendingLink

_logger = logging.getLogger(__name__)


def overlaps_are_refused() -> bool:
    """Whether shared files keep a run from starting, so that they must be looked for before it does."""
    return _overlap_policy() == "raise"


def check_overlaps(pending: Mapping[str, PendingLink]) -> None:
    """Warn of files that two roles share, or raise InvalidArgument, as the setting says. pending: by role."""
    policy = _overlap_policy()
    if policy == "off" or len(pending) < 2:
        return
    manifests = {role: each.manifest for role, each in pending.items() if each.manifest is not None}
    overlaps = [str(overlap) for overlap in find_overlaps(manifests)]
    if overlaps and policy == "raise":
        raise InvalidArgument(
            "; ".join(overlaps),
            expected="no file in two roles (MLFLOW_DSVER_OVERLAP=raise)",
            done="No run was started",
            tip="mlflow-dsver overlap --input ROLE=REFERENCE … lists them all",
        )
    for text in overlaps:
        _logger.warning("%s", text)


def run_is_ending(run_id: str) -> None:
    """Call each hook for the end of a run. Raises nothing: training has already succeeded."""
    for name, hook in plugins.run_end_hooks().items():
        try:
            hook.load()(run_id)
        except Exception as error:  # noqa: BLE001  (a hook may raise anything, and must not keep others from running)
            _logger.warning("run %s: the hook %s at its end failed: %s", run_id, name, error_line(error, 600))


def _overlap_policy() -> str:
    return settings.choice("OVERLAP", ("warn", "raise", "off"))
