"""The inputs of a parent run: child runs reuse their parent's resolved versions.

A tag that moves in the middle of a sweep does not split it: a child that requests the same reference as its parent
gets the parent's version. The links of this process's runs are kept in memory; a parent of another process is read
once, from this host's outbox as well, since its record may not have reached the server yet.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import mlflow
from mlflow import MlflowClient

from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.versions import DatasetVersion, Link
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.record import reader
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import clients, outbox

PARENT_TAG = "mlflow.parentRunId"
REMEMBERED = 10_000
"""Runs whose links are kept in memory at most; the oldest go first."""

_lock = threading.Lock()
_links: OrderedDict[str, Mapping[str, Link]] = OrderedDict()
_logger = logging.getLogger(__name__)


def remember(run_id: str, links: Mapping[str, Link]) -> None:
    """Remember the links of a run, by role, in addition to those remembered before."""
    with _lock:
        _links[run_id] = {**_links.pop(run_id, {}), **links}
        while len(_links) > REMEMBERED:
            _links.popitem(last=False)


def links_of(run_id: str) -> Mapping[str, Link]:
    """The links remembered of a run, by role."""
    return _links.get(run_id, {})


def versions_of_other_runs(run_id: str, limit: int) -> list[DatasetVersion]:
    """The versions that other runs of this process are linked to, those of the newest runs first, each once."""
    with _lock:
        runs = [links for each, links in reversed(_links.items()) if each != run_id]
    versions = dict.fromkeys(link.version for links in runs for link in links.values())
    return list(versions)[:limit]


def parent_of(arguments: Mapping[str, Any]) -> str | None:
    """The parent that a run will have; None for none. arguments: those of `mlflow.start_run`."""
    named = arguments.get("parent_run_id") or (arguments.get("tags") or {}).get(PARENT_TAG)
    active = mlflow.active_run()
    return named or (active.info.run_id if active is not None and arguments.get("nested") else None)


def parent_links(client: MlflowClient, arguments: Mapping[str, Any]) -> Mapping[str, Link]:
    """The links of the parent that a run will have; none without one. arguments: those of `mlflow.start_run`."""
    parent, active = parent_of(arguments), mlflow.active_run()
    if parent is None:
        return {}
    if parent not in _links and not (active is not None and active.info.run_id == parent):
        remember(parent, _read(client, parent))
    return links_of(parent)


def parent_links_of(run: Any) -> Mapping[str, Link]:
    """The links of the parent of a run that is active already, as far as they are remembered."""
    parent = run.data.tags.get(PARENT_TAG)
    return links_of(parent) if parent else {}


def _read(client: MlflowClient, run_id: str) -> Mapping[str, Link]:
    pending = _in_outbox(run_id)
    try:
        run = clients.read_run(client, clients.deadline(), run_id)
    except DsverError as error:
        _logger.warning("the parent run %s cannot be read, so its versions are not inherited: %s", run_id, error)
        return pending
    recorded = reader.links_of(run)
    same = {
        role for role, link in pending.items() if role in recorded and recorded[role].version.ref == link.version.ref
    }
    return pending | {role: _with_provider_fields(link) for role, link in recorded.items() if role not in same}


def _in_outbox(run_id: str) -> dict[str, Link]:
    """Links that are not on the run yet; read before the run itself, so that none is missed in between."""
    try:
        return outbox.of_run(run_id)
    except OSError as error:
        _logger.debug("the outbox cannot be read: %s", error)
        return {}


def _with_provider_fields(link: Link) -> Link:
    """The link with the provider's full version metadata, if it answers; a run's params hold only a part."""
    ref = link.version.ref
    try:
        return replace(link, version=get_provider(ref.provider).get(ref.dataset, ref.selector or ""))
    except DsverError as error:
        _logger.info("%s of the parent run is taken as recorded: %s", ref, one_line(error))
        return link
