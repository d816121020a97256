"""Dataset versions that MLflow's own sources, or other tools, recorded on a run: no links, but known to providers.

A provider says in its `ProviderInfo` which source types and run tags it understands. Nothing is asked of any service:
a record that names one exact version gives that version with the grade D, since nothing was checked. `attach` makes a
link of it. One that names a branch, or nothing but the dataset, gives no version.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mlflow_dsver import plugins
from mlflow_dsver.errors import DsverError
from mlflow_dsver.model.refs import is_role, parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.plugins import RecordedVersion
from mlflow_dsver.record import reader, schema
from mlflow_dsver.text import error_line

BY_MLFLOW, BY_TAGS = "recorded by MLflow", "recorded by tags"
"""Notes of the grade: what recorded the version."""

_logger = logging.getLogger(__name__)


class Elsewhere(NamedTuple):
    """What others recorded on a run. links: exact versions, by role. inexact: `role=reference` of other records."""

    links: list[Link]
    inexact: list[str]


def recorded_elsewhere(run: Any, taken: Mapping[str, Link]) -> Elsewhere:
    """What MLflow's run entity says that it used beyond its links. taken: its links, by role.

    A version that a link has already is left out, and a role that is taken gets a number, as `training-2`.
    """
    links, known = dict(taken), {str(link.version.ref) for link in taken.values()}
    inexact: dict[str, None] = {}
    for role, found, by in _found(run):
        try:
            ref = parse(found.reference)
            requested = str(parse(found.requested))
        except DsverError as error:
            _logger.info("run %s: its %s input is not understood: %s", run.info.run_id, role, error_line(error))
            continue
        if ref.selector is None:
            inexact[f"{role}={requested}"] = None
            continue
        if str(ref) in known:
            continue
        known.add(str(ref))
        grade = Grade("D").with_notes(by)
        link = Link(role, requested, DatasetVersion(ref), grade, reader.started_of(run))
        name = reader.free_role(role, links, run)
        links[name] = link if name == role else Link(name, requested, link.version, grade, link.linked)
    return Elsewhere([links[role] for role in sorted(set(links) - set(taken))], list(inexact))


def _found(run: Any) -> Iterator[tuple[str, RecordedVersion, str]]:
    """The role, what a provider understands, and how it was recorded."""
    infos = plugins.provider_infos().values()
    sources = {type_: target for info in infos for type_, target in info.recorded_sources.items()}
    for each in run.inputs.dataset_inputs if run.inputs else []:
        target = sources.get(each.dataset.source_type)
        if target is not None:
            role = reader.role_of(schema.context_of(each))
            for found in _asked(target, reader.json_object(each.dataset.source), run):
                yield role, found, BY_MLFLOW
    labels = {**run.data.params, **run.data.tags}
    targets = {target: None for info in infos for tag, target in info.recorded_tags.items() if tag in labels}
    for target in targets:
        for found in _asked(target, labels, run):
            yield found.role if found.role and is_role(found.role) else "training", found, BY_TAGS


def _asked(target: str, fields: Mapping[str, Any], run: Any) -> list[RecordedVersion]:
    try:
        return list(plugins.load(target)(fields))
    except Exception as error:  # noqa: BLE001  (a record may hold anything; another package's code reads it)
        _logger.info("run %s: %s: %s", run.info.run_id, target, error_line(error))
        return []
