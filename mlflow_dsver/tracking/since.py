"""One line when a run starts: what its data is, if it is not what the last run in this experiment had.

Which version that was is kept on this host, one small file for a role of a dataset in an experiment, so that no
server is asked; the files are compared where both manifests are at hand and small enough to take no time. The line
goes through MLflow's own logger, as what MLflow itself says of a run does; MLFLOW_DSVER_SINCE=no switches it off.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.errors import DsverError
from mlflow_dsver.files import atomic_write, make_folder
from mlflow_dsver.manifests import difference
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.refs import DatasetRef, parse
from mlflow_dsver.text import human_bytes
from mlflow_dsver.tracking import record
from mlflow_dsver.tracking.bounded import shown_address
from mlflow_dsver.tracking.resolving import manifest_of
from mlflow_dsver.tracking.writing import Wanted
from mlflow_dsver.versions import DatasetVersion

FILES = 20_000
"""Files of a version up to which they are compared: that takes some 50 milliseconds."""

_logger = logging.getLogger("mlflow.dsver")


def tell(tracking_uri: str, experiment_id: str, wanted: Iterable[Wanted]) -> None:
    """Say what changed since the last run in the experiment on this host, and remember this one. Raises nothing."""
    try:
        if not settings.switch("SINCE", default=True):
            return
        for each in wanted:
            _tell(_path(tracking_uri, experiment_id, each), each)
    except (DsverError, OSError, ValueError) as error:
        _logger.debug("what changed since the last run is not known: %s", error)


def _tell(path: Path, now: Wanted) -> None:
    version = now.link.version
    former = _former(path)
    if former == version.ref:
        return
    if former is not None:
        changed = _changed(former, version)
        _logger.info(
            "%s: %s is %s; since your last run in this experiment, with %s: %s",
            now.link.role,
            now.link.requested,
            version.id,
            former.selector,
            changed or "another version",
        )
    make_folder(path.parent)
    with atomic_write(path, mode=0o600, durable=False) as stream:
        stream.write(json.dumps({"reference": str(version.ref)}).encode())


def _former(path: Path) -> DatasetRef | None:
    try:
        told: Any = json.loads(path.read_bytes())
        return parse(told["reference"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _changed(former: DatasetRef, now: DatasetVersion) -> str | None:
    """Such as `120 added, 3 removed, 7 changed, +1.2 GiB`; None when the files are not at hand, or too many."""
    before = get_provider(former.provider).get(former.dataset, former.selector or "")
    if any((record.file_count(version) or FILES + 1) > FILES for version in (before, now)):
        return None
    old, new = manifest_of(before), manifest_of(now)
    if old is None or new is None:
        return None
    found = difference(old, new)
    counts = {"added": found.added, "removed": found.removed, "changed": found.changed, "renamed": found.renamed}
    told = [f"{len(entries):,} {word}" for word, entries in counts.items() if entries]
    return ", ".join([*told, f"{'-' if found.growth < 0 else '+'}{human_bytes(abs(found.growth))}"])


def _path(tracking_uri: str, experiment_id: str, each: Wanted) -> Path:
    told = [shown_address(tracking_uri), str(experiment_id), each.link.role, str(each.link.version.ref.at(None))]
    name = hashlib.blake2b("\n".join(told).encode(), digest_size=16).hexdigest()
    return settings.home() / "cache" / "since" / f"{name}.json"
