"""Renders a report as Markdown or JSON.

The Markdown has tables that every viewer shows, no diagram language and no remote images; all texts are escaped, so
that an untrusted name is shown and not interpreted. The JSON has every field by name, dates in ISO 8601, and the
graph as nodes and edges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from mlflow_dsver.lineage.graph import outline
from mlflow_dsver.lineage.views import Report
from mlflow_dsver.model.json_values import date_text, to_json
from mlflow_dsver.record.facts import Model, Run, Use
from mlflow_dsver.record.mlflow_urls import MLflow
from mlflow_dsver.text import human_bytes, markdown, markdown_code

SCHEMA = 1
"""Version of the JSON."""


def report_markdown(report: Report, mlflow: MLflow) -> str:
    """The report. mlflow: where the runs can be looked at; an empty root for no links."""
    lines = [f"# {markdown(report.title)}", ""]
    if report.subtitle:
        lines += [markdown(report.subtitle), ""]
    lines += [
        "## Lineage",
        "",
        *_markdown_lineage(report),
        "",
        "## Datasets and their versions",
        "",
        *_markdown_versions(report),
    ]
    lines += ["", "## Runs", "", *_markdown_runs(report, mlflow)]
    if report.orphans:
        lines += ["", "## Models whose run was deleted", "", *_markdown_orphans(report)]
    return "\n".join(lines) + "\n"


def _markdown_lineage(report: Report) -> Iterator[str]:
    for entry in outline(report.graph):
        label = f"{markdown(entry.label, 60)}: " if entry.label else ""
        detail = f" ({markdown(entry.node.detail, 80)})" if entry.node.detail else ""
        title = f"{entry.node.id.kind.value} **{markdown(entry.node.title, 80)}**"
        yield f"{'    ' * entry.depth}- {label}{title}{detail}"
    if report.graph.omitted:
        yield f"- and {report.graph.omitted:,} more, which the tables below have"


def _markdown_versions(report: Report) -> Iterator[str]:
    yield "| version | tags | first used | last used | size | grade | runs |"
    yield "|---" * 7 + "|"
    for _, rows in report.datasets:
        for row in rows:
            cells = [
                _version_cell(row.use),
                markdown(", ".join(row.use.tags)),
                _date_cell(row.first_used),
                _date_cell(row.last_used),
                human_bytes(row.use.usage_bytes),
                markdown(row.use.grade),
                f"{row.runs:,}" if row.runs is not None else "",
            ]
            yield "| " + " | ".join(cells) + " |"


def _markdown_runs(report: Report, mlflow: MLflow) -> Iterator[str]:
    yield "| run | experiment | started | used | last check | models |"
    yield "|---" * 6 + "|"
    for run in report.runs:
        used = "<br>".join(f"{markdown(use.role)} {_version_cell(use)} {markdown(use.grade)}" for use in run.uses)
        used += "".join(f"<br>evaluation dataset {markdown(str(each))}" for each in run.evaluation_datasets)
        models = "<br>".join(markdown(model.key.removeprefix("models:/")) for model in run.models)
        cells = [_run_cell(run, mlflow), markdown(run.place), _date_cell(run.started), used]
        yield "| " + " | ".join([*cells, markdown((run.verdict or "").lower()), models]) + " |"


def _version_cell(use: Use) -> str:
    name = f"**{markdown(use.dataset_name, 80)}** " if use.dataset_name else ""
    return name + markdown_code(use.version)


def _markdown_orphans(report: Report) -> Iterator[str]:
    yield "| model | made from |"
    yield "|---" * 2 + "|"
    for each in report.orphans:
        inputs = "<br>".join(f"{markdown(role)} {markdown_code(ref)}" for role, ref in each.made_from)
        yield f"| {markdown(each.model.key.removeprefix('models:/'))} | {inputs} |"


def _run_cell(run: Run, mlflow: MLflow) -> str:
    name = markdown(run.name or run.run_id, 80)
    return f"[{name}](<{mlflow.run(run.experiment_id, run.run_id, run.workspace)}>)" if mlflow.root else name


def _date_cell(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M}" if when else ""


def report_json(report: Report) -> str:
    """The report as one JSON object, newline at the end."""
    content = {
        "schema": SCHEMA,
        "title": report.title,
        "runs": [_run_json(run) for run in report.runs],
        "datasets": [
            {
                "reference": str(ref),
                "versions": [
                    {
                        **_use_json(row.use),
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
                **_model_json(each.model),
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


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "experiment_id": run.experiment_id,
        "experiment": run.experiment,
        **({} if run.workspace is None else {"workspace": run.workspace}),
        "started": date_text(run.started),
        "ended": date_text(run.ended),
        "status": run.status,
        "user": run.user,
        "git_commit": run.git_commit,
        "verdict": run.verdict,
        "checked": date_text(run.checked),
        "uses": [{"role": use.role, "requested": use.requested, **_use_json(use)} for use in run.uses],
        "models": [_model_json(model) for model in run.models],
        **({"evaluation_datasets": list(map(to_json, others))} if (others := run.evaluation_datasets) else {}),
    }


def _use_json(use: Use) -> dict[str, Any]:
    return {
        "reference": str(use.version),
        "dataset_name": use.dataset_name,
        "grade": use.grade,
        "tags": list(use.tags),
        "usage_bytes": use.usage_bytes,
        "content_digest": use.content_digest,
        "created": date_text(use.created),
    }


def _model_json(model: Model) -> dict[str, Any]:
    return {"key": model.key, "name": model.name, "version": model.version, "model_id": model.model_id}
