"""W3C PROV: the run as an activity that used entities and generated others, as PROV-JSON.

The specification: https://www.w3.org/submissions/prov-json/
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mlflow_dsver.lineage.export import RunRecord
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.versions import Link


def document(record: RunRecord) -> dict[str, Any]:
    """The PROV-JSON document of the run."""
    run = record.run
    activity = f"run:{run.run_id}"
    agent = f"user:{_local(run.user or 'unknown')}"
    versions = {_entity(link): _version(link) for link in record.links}
    models = {
        f"model:{_local(model.key)}": {"prov:label": model.name, "dsver:address": model.key} for model in run.models
    }
    times = {
        "startTime": date_text(run.started),
        "endTime": date_text(run.ended),
    }
    return {
        "prefix": {
            "dsver": "urn:mlflow-dsver:",
            "dataset": "urn:mlflow-dsver:version:",
            "model": "urn:mlflow:model:",
            "run": "urn:mlflow:run:",
            "user": "urn:mlflow:user:",
        },
        "entity": {**versions, **models},
        "activity": {
            activity: {
                **{f"prov:{name}": value for name, value in times.items() if value is not None},
                "prov:label": run.name or run.run_id,
                "dsver:experiment": run.experiment or run.experiment_id,
                **({"dsver:gitCommit": run.git_commit} if run.git_commit else {}),
            }
        },
        "agent": {agent: {"prov:label": run.user or "unknown"}},
        "used": {
            f"_:used{number}": {
                "prov:activity": activity,
                "prov:entity": _entity(link),
                "prov:role": link.role,
                "dsver:requested": link.requested,
                "dsver:grade": str(link.grade),
            }
            for number, link in enumerate(record.links)
        },
        "wasGeneratedBy": {
            f"_:made{number}": {"prov:entity": model, "prov:activity": activity}
            for number, model in enumerate(models)
        },
        "wasDerivedFrom": {
            f"_:derived{number}": {"prov:generatedEntity": model, "prov:usedEntity": version}
            for number, (model, version) in enumerate((m, v) for m in models for v in versions)
        },
        "wasAssociatedWith": {"_:associated": {"prov:activity": activity, "prov:agent": agent}},
    }


def _version(link: Link) -> dict[str, Any]:
    version = link.version
    fields: dict[str, Any] = {
        "prov:label": str(version.ref),
        "prov:type": "dsver:DatasetVersion",
        "dsver:contentDigest": version.content_digest,
        "dsver:usageBytes": None if version.usage_bytes is None else str(version.usage_bytes),
        "dsver:tags": ", ".join(version.tags) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _entity(link: Link) -> str:
    return f"dataset:{_local(str(link.version.ref))}"


def _local(text: str) -> str:
    """Text as the local part of a qualified name: everything but letters, digits, `-` and `_` percent-encoded."""
    return quote(text, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
