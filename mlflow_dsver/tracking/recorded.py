"""The links of a run, read from its params, tags and dataset inputs, as `record` writes them. Pure.

The run may have been written by anybody: what is no link is passed over with a warning, and no value is trusted
further than its type. A version that is read this way has what the run says of it and nothing else; the artifact
`dsver/R.json` has the rest.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.refs import parse
from mlflow_dsver.text import one_line
from mlflow_dsver.tracking import record
from mlflow_dsver.tracking.source import SOURCE_TYPE, DatasetVersionSource
from mlflow_dsver.versions import DatasetVersion, Grade, Link

_logger = logging.getLogger(__name__)
_ROLE_KEY = re.compile(r"dsver\.([A-Za-z0-9][A-Za-z0-9_-]{0,63})\.version\Z")
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")


def links_of(run: Any) -> dict[str, Link]:
    """Role to link of MLflow's run entity, sorted by role."""
    sources = _sources(run)
    keys = [*run.data.params, *run.data.tags]
    roles = {found[1] for found in map(_ROLE_KEY.match, keys) if found} | set(sources)
    links = {}
    for role in sorted(roles):
        try:
            links[role] = _link(role, run, sources.get(role))
        except (InvalidReference, ValueError) as error:
            _logger.warning("run %s: its %s input is not a link: %s", run.info.run_id, role, one_line(error))
    return links


def version_text(run: Any, role: str) -> str | None:
    """The canonical reference that the run has for a role, None when it has none.

    The param counts before the tag: MLflow lets nobody change a param.
    """
    name = record.key(role, "version")
    text: str | None = run.data.params.get(name) or run.data.tags.get(name)
    return text


def _link(role: str, run: Any, source: DatasetVersionSource | None) -> Link:
    params: Mapping[str, str] = run.data.params
    reference = version_text(run, role) or (source.reference if source else "")
    ref = parse(reference)
    if source is not None and source.reference != reference:
        source = None
    said = {
        name: params.get(record.key(role, name)) for name in ("requested", "tags", "usage_bytes", "content_digest")
    }
    size = said["usage_bytes"]
    digest = said["content_digest"] or (source.content_digest if source else None)
    version = DatasetVersion(
        ref,
        tags=record.parse_tags(said["tags"] or ""),
        usage_bytes=int(size) if size and size.isascii() and size.isdigit() else (source and source.usage_bytes),
        content_digest=digest if digest and _DIGEST.match(digest) else None,
        web_url=source.url if source else None,
    )
    requested = said["requested"] or (source.requested if source else reference)
    tags: Mapping[str, str] = run.data.tags
    grade = _grade(tags.get(record.key(role, "grade")))
    return Link(role, requested, version, grade, _started(run), tags.get(record.key(role, "created")))


def _grade(text: str | None) -> Grade:
    try:
        return Grade.parse(text or "D")
    except ValueError:
        return Grade("D")


def _started(run: Any) -> datetime:
    return datetime.fromtimestamp((run.info.start_time or 0) / 1000, UTC)


def _sources(run: Any) -> dict[str, DatasetVersionSource]:
    """Role to source of the run's dataset inputs that are dataset versions."""
    sources = {}
    for each in run.inputs.dataset_inputs if run.inputs else []:
        role = record.context_of(each)
        if each.dataset.source_type != SOURCE_TYPE or not role or not _ROLE_KEY.match(record.key(role, "version")):
            continue
        try:
            fields = json.loads(each.dataset.source)
        except (ValueError, RecursionError):
            continue
        if isinstance(fields, dict):
            sources[role] = DatasetVersionSource.from_dict(fields)
    return sources
