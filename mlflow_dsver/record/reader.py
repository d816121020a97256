"""The links of a run, read from its params, tags and dataset inputs, as `record` writes them. Pure.

The run may have been written by anybody: anything that is not a link is ignored with a warning, and values are
validated by type only. A version that is read this way has what the run says of it and nothing else; the artifact
`dsver/R.json` has the rest.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.json_values import date_value
from mlflow_dsver.model.refs import is_role as is_role_name
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link
from mlflow_dsver.record import schema
from mlflow_dsver.record.dataset_source import SOURCE_TYPE, VersionSource
from mlflow_dsver.record.facts import EvaluationDataset, InputFacts, Model, Run, Use
from mlflow_dsver.text import one_line

UNKNOWN_ROLE = "unknown"
"""The role of an input that was logged without a context."""
ROLE_LENGTH = 60
"""Characters that are kept of a context that is no role, or gets a number; a role has 64 at most."""
MAX_SOURCE = 65_536
"""Characters of a dataset's source JSON that are read at most; MLflow stores no more."""

_logger = logging.getLogger(__name__)
_EVALUATION_SOURCES = frozenset({"mlflow_evaluation_dataset", "databricks_evaluation_dataset"})
_VERDICT = re.compile(r"\s*([A-Za-z_]+)")
_DATE_IN_TEXT = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)?")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_COUNT = re.compile(r"[0-9]{1,20}\Z")
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")


def run_of(run: Any, experiment: str, models: Sequence[Model] = ()) -> Run:
    """MLflow's run entity as a value. experiment: its experiment's name. What is no link is left out of `uses`."""
    info, tags = run.info, dict(run.data.tags)
    verdict, checked = verdict_of(tags.get(schema.VERDICT_TAG, ""))
    return Run(
        run_id=info.run_id,
        name=info.run_name or tags.get("mlflow.runName", ""),
        experiment_id=str(info.experiment_id),
        experiment=experiment,
        status=str(info.status or ""),
        started=_time(info.start_time),
        ended=_time(info.end_time),
        artifact_uri=info.artifact_uri,
        params=dict(run.data.params),
        tags=tags,
        metrics=dict(run.data.metrics),
        sources=sources_of(run),
        inputs=dataset_inputs_of(run),
        user=tags.get("mlflow.user") or info.user_id or "",
        git_commit=tags.get("mlflow.source.git.commit"),
        verdict=verdict,
        checked=checked,
        uses=_uses(run),
        models=tuple(models),
        evaluation_datasets=evaluation_datasets_of(run),
    )


def _uses(run: Any) -> tuple[Use, ...]:
    created = _created(run)
    return tuple(
        Use(
            role,
            link.version.ref,
            link.requested,
            str(link.grade),
            link.version.tags,
            link.version.usage_bytes,
            link.version.content_digest,
            created.get(role),
            link.version.web_url,
            link.version.dataset_name,
        )
        for role, link in all_links_of(run, level=logging.INFO).items()
        if link.version.ref.selector is not None
    )


def links_of(run: Any) -> dict[str, Link]:
    """Role to link of MLflow's run entity, sorted by role: what was declared in a role, one version each.

    Parent runs, resumed runs and new records use these. `all_links_of` adds further inputs.
    """
    declared = _declared(run)
    return {role: link for role, link in all_links_of(run).items() if role in declared}


def all_links_of(run: Any, level: int = logging.WARNING) -> dict[str, Link]:
    """Every dataset version that the run says it used, by role, sorted: see `sources_of` for their roles.

    level: of the log message about what is not a link.
    """
    sources = {role: VersionSource.from_dict(fields) for role, fields in sources_of(run).items()}
    roles = schema.roles_in([*run.data.params, *run.data.tags]) | set(sources)
    links = {}
    for role in sorted(roles):
        try:
            links[role] = _link(role, run, sources.get(role))
        except (InvalidReference, ValueError) as error:
            _logger.log(level, "run %s: its %s input is not a link: %s", run.info.run_id, role, one_line(error))
    return links


def sources_of(run: Any) -> dict[str, Mapping[str, Any]]:
    """Role to the source JSON of each dataset input that is a dataset version; {} where it is no JSON object.

    The role is MLflow's context. `mlflow.log_input` asks for none and takes any text, and several inputs in one: an
    input without a context has the role `unknown`; what cannot stand in a role's name becomes `-`; and a further
    version in a role that is taken is listed as `training-2`. An input that repeats a version which the run has
    already in that role (without a context: in any) is listed once.
    """
    found: dict[str, Mapping[str, Any]] = {}
    further: list[tuple[str | None, Mapping[str, Any]]] = []
    for each in run.inputs.dataset_inputs if run.inputs else []:
        if each.dataset.source_type != SOURCE_TYPE:
            continue
        context, fields = schema.context_of(each), json_object(each.dataset.source)
        role = role_of(context)
        text = version_text(run, role) if context else None
        if text is not None and text == fields.get("reference"):
            found[role] = fields
        else:
            further.append((context, fields))
    recorded = {version_text(run, role) for role in schema.roles_in([*run.data.params, *run.data.tags])}
    for context, fields in sorted(further, key=lambda one: not one[0]):
        role, reference = role_of(context), fields.get("reference")
        listed = {str(each.get("reference")) for key, each in found.items() if not context or _stands_for(key, role)}
        if not isinstance(reference, str) or reference not in (listed if context else listed | recorded):
            found[free_role(role, found, run)] = fields
    return found


def dataset_inputs_of(run: Any) -> tuple[InputFacts, ...]:
    """The run's dataset inputs that are dataset versions and have a context, not validated further."""
    found = []
    for each in run.inputs.dataset_inputs if run.inputs else []:
        role, data = schema.context_of(each), each.dataset
        if data.source_type == SOURCE_TYPE and role is not None:
            found.append(
                InputFacts(role, data.name, data.digest, json_object(data.source), json_object(data.profile or ""))
            )
    return tuple(found)


def evaluation_datasets_of(run: Any) -> tuple[EvaluationDataset, ...]:
    """The run's dataset inputs that are evaluation datasets of `mlflow.genai`, in MLflow's order."""
    found = []
    for each in run.inputs.dataset_inputs if run.inputs else []:
        data = each.dataset
        if data.source_type in _EVALUATION_SOURCES:
            dataset_id = json_object(data.source or "").get("dataset_id")
            known = dataset_id if isinstance(dataset_id, str) else ""
            found.append(EvaluationDataset(data.name, data.digest, known, schema.context_of(each) or ""))
    return tuple(found)


def is_role(key: str, role: str, run: Any) -> bool:
    """Whether what `all_links_of` has under a key was used in a role: under its name or as a further version."""
    return key == role or (_stands_for(key, role) and key not in _declared(run))


def _declared(run: Any) -> set[str]:
    """The roles that the run has under their own name."""
    contexts = {schema.context_of(each) for each in (run.inputs.dataset_inputs if run.inputs else ())}
    return schema.roles_in([*run.data.params, *run.data.tags]) | {each for each in contexts if each}


def reference_in(source: str) -> str | None:
    """The reference in the source JSON of a dataset; None when it names none."""
    reference = json_object(source).get("reference")
    return reference if isinstance(reference, str) else None


def role_of(context: str | None) -> str:
    """The role of a dataset input with that context, as long as the run has no other version in it."""
    if context and is_role_name(context):
        return context
    return _UNFIT.sub("-", context or UNKNOWN_ROLE).lstrip("-_")[:ROLE_LENGTH] or UNKNOWN_ROLE


def _stands_for(key: str, role: str) -> bool:
    return key == role or key.removeprefix(f"{role[:ROLE_LENGTH]}-").isdecimal()


def free_role(role: str, taken: Mapping[str, object], run: Any) -> str:
    """The role itself if free, else the role with the next free number."""
    if role not in taken:
        return role
    numbered = (f"{role[:ROLE_LENGTH]}-{number}" for number in count(2))
    return next(name for name in numbered if name not in taken and version_text(run, name) is None)


def version_text(run: Any, role: str) -> str | None:
    """The canonical reference that the run has for a role, None when it has none.

    The param counts before the tag: MLflow lets nobody change a param.
    """
    name = schema.key(role, "version")
    text: str | None = run.data.params.get(name) or run.data.tags.get(name)
    return text


def _link(role: str, run: Any, source: VersionSource | None) -> Link:
    labels: Mapping[str, str] = {**run.data.tags, **run.data.params}
    reference = version_text(run, role) or (source.reference if source else "")
    ref = parse(reference)
    if source is not None and source.reference != reference:
        source = None
    recorded = {
        name: labels.get(schema.key(role, name)) for name in ("requested", "tags", "usage_bytes", "content_digest")
    }
    size = recorded["usage_bytes"]
    digest = recorded["content_digest"] or (source.content_digest if source else None)
    version = DatasetVersion(
        ref,
        tags=schema.parse_tags(recorded["tags"] or ""),
        usage_bytes=int(size)
        if size and size.isascii() and size.isdigit()
        else (source.usage_bytes if source else None),
        content_digest=digest if digest and _DIGEST.match(digest) else None,
        web_url=source.url if source else None,
        dataset_name=run.data.tags.get(schema.key(role, "dataset_name")) or (source.dataset_name if source else None),
        **_counts(role, labels),
    )
    requested = recorded["requested"] or (source.requested if source else reference)
    tags: Mapping[str, str] = run.data.tags
    grade = _grade(tags.get(schema.key(role, "grade")))
    return Link(role, requested, version, grade, started_of(run), tags.get(schema.key(role, "created")))


def _counts(role: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The provider's counts among the labels of a role, as a version has them."""
    start = schema.key(role, "")
    found = {
        name.removeprefix(start): int(value)
        for name, value in sorted(labels.items())
        if name.startswith(start) and schema.COUNT_NAME.match(name.removeprefix(start)) and _COUNT.match(value)
    }
    return {"counts": found, "count_params": tuple(found)}


def _grade(text: str | None) -> Grade:
    try:
        return Grade.parse(text or "D")
    except ValueError:
        return Grade("D")


def started_of(run: Any) -> datetime:
    """When MLflow's run entity started."""
    return datetime.fromtimestamp((run.info.start_time or 0) / 1000, UTC)


def json_object(text: str) -> Mapping[str, Any]:
    """A JSON object that a run has as text; {} for anything else, and for one that is too long."""
    try:
        fields = json.loads(text) if len(text) <= MAX_SOURCE else None
    except (ValueError, RecursionError):
        fields = None
    return fields if isinstance(fields, dict) else {}


def use_of_dataset(source: str, profile: str | None) -> dict[str, Any]:
    """What a dataset's row in MLflow says beyond its name: fields of `Use` as far as they are known."""
    fields, shown = json_object(source or ""), json_object(profile or "")
    size, digest, url = fields.get("usage_bytes"), fields.get("content_digest"), fields.get("url")
    name = fields.get("dataset_name")
    tags = shown.get("tags")
    return {
        "usage_bytes": size if type(size) is int and size >= 0 else None,
        "content_digest": digest if isinstance(digest, str) else None,
        "web_url": url if isinstance(url, str) else None,
        "dataset_name": name if isinstance(name, str) and name else None,
        "grade": str(shown.get("grade") or "")[:40],
        "tags": schema.parse_tags(tags) if isinstance(tags, str) and tags != "none" else (),
        "created": _date(shown.get("created")),
    }


def verdict_of(text: str) -> tuple[str | None, datetime | None]:
    """The word that a check recorded, in capitals, and its time."""
    word = _VERDICT.match(text)
    when = _DATE_IN_TEXT.search(text[:200])
    return (word[1].upper()[:20] if word else None), (_date(when[0]) if when else None)


def _created(run: Any) -> dict[str, datetime | None]:
    """Role to the time when its version was made, where the dataset's profile says it."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    ours = [each for each in inputs if each.dataset.source_type == SOURCE_TYPE]
    return {
        schema.context_of(each) or "": _date(json_object(each.dataset.profile or "").get("created")) for each in ours
    }


def _date(text: object) -> datetime | None:
    try:
        return date_value(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _time(milliseconds: int | None) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
    except (ValueError, OverflowError, OSError):
        return None
