"""Logs one line when a run starts: how its data differs from that of the last run in the experiment.

The last version is kept on this host, one small file for a role of a dataset in an experiment, so no request is made;
files are compared where both manifests are local and small. The line goes through MLflow's own logger, like MLflow's
messages about a run; MLFLOW_DSVER_SHOW_CHANGES=no switches it off.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import replace

from mlflow_dsver import settings
from mlflow_dsver.content.file_cache import FileCache
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.differences import difference
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.record import schema
from mlflow_dsver.resolution.version_files import manifest_of
from mlflow_dsver.text import human_bytes
from mlflow_dsver.tracking.clients import shown_address
from mlflow_dsver.tracking.record_writer import PendingLink

FILES = 20_000
"""Files of a version up to which they are compared: that takes some 50 milliseconds."""
MAX_FILES = 10_000
"""Roles in experiments whose last version is remembered on this host."""

_logger = logging.getLogger("mlflow.dsver")


def log_dataset_changes(tracking_uri: str, experiment_id: str, pending: Iterable[PendingLink]) -> dict[str, str]:
    """Say what changed since the last run in the experiment on this host, and remember this one. Raises nothing.

    Gives the changes by role, such as `120 added, 3 removed, +1.2 GiB since 3f9c2a7d11e05b64`.
    """
    changes_by_role: dict[str, str] = {}
    try:
        if settings.switch("SHOW_CHANGES", default=True):
            for each in pending:
                changes = _log_change(_file_name(tracking_uri, experiment_id, each), each)
                if changes is not None:
                    changes_by_role[each.link.role] = changes
    except (DsverError, OSError, ValueError) as error:
        _logger.debug("what changed since the last run is not known: %s", error)
    return changes_by_role


def _log_change(name: str, now: PendingLink) -> str | None:
    cache = FileCache(settings.home() / "cache" / "since", max_files=MAX_FILES)
    version, previous, changes = now.link.version, _read_previous(cache.get(name)), None
    if previous is not None and previous.ref == version.ref:
        return None
    if previous is not None:
        changes = _changes(previous, version)
        _logger.info(
            "%s: %s is %s; since your last run in this experiment, with %s: %s",
            now.link.role,
            now.link.requested,
            version.id,
            previous.id,
            changes or "another version",
        )
    cache.put(name, json.dumps(replace(version, raw={}, metadata={}).to_json()).encode())
    return f"{changes} since {previous.id}" if changes and previous is not None else None


def _read_previous(content: bytes | None) -> DatasetVersion | None:
    try:
        return DatasetVersion.from_json(json.loads(content or b""))
    except (ValueError, RecursionError):
        return None


def _changes(before: DatasetVersion, now: DatasetVersion) -> str | None:
    """Such as `120 added, 3 removed, 7 changed, +1.2 GiB`; None without local manifests, or for too many files."""
    if any((schema.file_count(version) or FILES + 1) > FILES for version in (before, now)):
        return None
    old, new = manifest_of(before), manifest_of(now)
    if old is None or new is None:
        return None
    found = difference(old, new)
    counts = {"added": found.added, "removed": found.removed, "changed": found.changed, "renamed": found.renamed}
    counted = [f"{len(entries):,} {word}" for word, entries in counts.items() if entries]
    return ", ".join([*counted, f"{'-' if found.growth < 0 else '+'}{human_bytes(abs(found.growth))}"])


def _file_name(tracking_uri: str, experiment_id: str, each: PendingLink) -> str:
    key = [
        shown_address(tracking_uri),
        str(experiment_id),
        each.link.role,
        str(each.link.version.ref.at(None)),
    ]
    return hashlib.blake2b("\n".join(key).encode(), digest_size=16).hexdigest() + ".json"
