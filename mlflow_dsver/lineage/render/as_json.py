"""Renders a report as JSON for programs: every field by name, dates in ISO 8601, the graph as nodes and edges."""

from __future__ import annotations

import json
from typing import Any

from mlflow_dsver.lineage.render.views import Report
from mlflow_dsver.model.versions import date_text
from mlflow_dsver.record.facts import Model, Run, Use

SCHEMA = 1


def render(report: Report) -> str:
    """The report as one JSON object, newline at the end."""
    content = {
        "schema": SCHEMA,
        "title": report.title,
        "runs": [_run(run) for run in report.runs],
        "datasets": [
            {
                "reference": str(ref),
                "versions": [
                    {
                        **_use(row.use),
                        "runs": row.runs,
                        "first_used": date_text(row.first_used),
                        "last_used": date_text(row.last_used),
                    }
                    for row in rows
                ],
            }
            for ref, rows in report.datasets
        ],
        "models_without_run": [
            {
                **_model(each.model),
                "made_from": [{"role": role, "reference": str(ref)} for role, ref in each.made_from],
            }
            for each in report.orphans
        ],
        "graph": {
            "nodes": [
                {"kind": node.id.kind.value, "key": node.id.key, "title": node.title, "detail": node.detail}
                for node in report.graph.nodes.values()
            ],
            "edges": [
                {"source": edge.source.key, "target": edge.target.key, "role": edge.label}
                for edge in report.graph.edges
            ],
            "omitted": report.graph.omitted,
        },
    }
    return json.dumps(content, indent=2, ensure_ascii=True) + "\n"


def _run(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment_id": run.experiment_id,
        "experiment": run.experiment,
        "started": date_text(run.started),
        "ended": date_text(run.ended),
        "status": run.status,
        "user": run.user,
        "git_commit": run.git_commit,
        "verdict": run.verdict,
        "checked": date_text(run.checked),
        "uses": [{"role": use.role, "requested": use.requested, **_use(use)} for use in run.uses],
        "models": [_model(model) for model in run.models],
    }


def _use(use: Use) -> dict[str, Any]:
    return {
        "reference": str(use.version),
        "dataset_name": use.dataset_name,
        "grade": use.grade,
        "tags": list(use.tags),
        "usage_bytes": use.usage_bytes,
        "content_digest": use.content_digest,
        "created": date_text(use.created),
    }


def _model(model: Model) -> dict[str, Any]:
    return {"key": model.key, "name": model.name, "version": model.version, "model_id": model.model_id}
