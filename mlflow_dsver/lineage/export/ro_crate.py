"""RO-Crate 1.1, profile Process Run Crate: one action, its agent, the data it used and the models it made.

The content of `ro-crate-metadata.json`. Data are described at their location and are not part of the crate.
The specifications: https://w3id.org/ro/crate/1.1 and https://w3id.org/ro/wfrun/process/0.5
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mlflow_dsver.lineage.export import RunRecord
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.versions import Link
from mlflow_dsver.record.mlflow_urls import web_address

_PROCESS = "https://w3id.org/ro/wfrun/process/0.5"
_STATUS = {
    "FINISHED": "http://schema.org/CompletedActionStatus",
    "FAILED": "http://schema.org/FailedActionStatus",
    "KILLED": "http://schema.org/FailedActionStatus",
}


def metadata(record: RunRecord) -> dict[str, Any]:
    """The crate's metadata document."""
    run = record.run
    data = [_dataset(record, link) for link in _distinct(record.links)]
    models = [{"@id": model.key, "@type": "CreativeWork", "name": model.name} for model in run.models]
    agent = {
        "@id": f"#agent-{quote(run.user or 'unknown', safe='', errors='surrogatepass')}",
        "@type": "Person",
        "name": run.user or "unknown",
    }
    tool = {
        "@id": "#tool",
        "@type": "SoftwareApplication",
        "name": run.experiment or "training",
        **({"softwareVersion": run.git_commit} if run.git_commit else {}),
    }
    action = {
        "@id": record.uri,
        "@type": "CreateAction",
        "name": run.name or run.run_id,
        "instrument": {"@id": tool["@id"]},
        "agent": {"@id": agent["@id"]},
        "object": _references(data),
        "result": _references(models),
        "startTime": date_text(run.started),
        "endTime": date_text(run.ended),
        "actionStatus": _STATUS.get(run.status, "http://schema.org/ActiveActionStatus"),
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"MLflow run {run.name or run.run_id}",
        "description": "Which dataset versions an MLflow run used, and what it made of them.",
        "datePublished": date_text(run.ended or run.started) or "1970-01-01",
        "license": "Not stated: the data are described here and not handed out.",
        "conformsTo": {"@id": _PROCESS},
        "mentions": {"@id": action["@id"]},
        "hasPart": _references(data),
    }
    descriptor = {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }
    profile = {"@id": _PROCESS, "@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    roles = [_property(link) for link in record.links]
    entities: list[dict[str, Any]] = [descriptor, root, profile, action, agent, tool, *data, *models, *roles]
    return {
        "@context": "https://w3id.org/ro/crate/1.1/context",
        "@graph": [{key: value for key, value in entity.items() if value is not None} for entity in entities],
    }


def _dataset(record: RunRecord, link: Link) -> dict[str, Any]:
    version = link.version
    known = record.manifests.get(link.role)
    return {
        "@id": str(version.ref),
        "@type": "Dataset",
        "name": version.ref.dataset,
        "version": version.id,
        "identifier": str(version.ref),
        "description": version.message or f"{len(known[0])} files" if known else version.message,
        "url": web_address(version.web_url),
        "keywords": ", ".join(version.tags) or None,
        "dateCreated": date_text(version.created),
        "contentSize": None if version.usage_bytes is None else str(version.usage_bytes),
        "additionalProperty": [
            {"@id": f"#role-{each.role}"} for each in record.links if each.version.ref == version.ref
        ],
    }


def _property(link: Link) -> dict[str, Any]:
    """How the run used a version: role, grade and content digest."""
    return {
        "@id": f"#role-{link.role}",
        "@type": "PropertyValue",
        "name": link.role,
        "value": link.version.content_digest or "unknown",
        "description": f"grade {link.grade}; asked for as {link.requested}",
    }


def _distinct(links: tuple[Link, ...]) -> list[Link]:
    return list({link.version.ref: link for link in reversed(links)}.values())[::-1]


def _references(entities: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"@id": entity["@id"]} for entity in entities]
