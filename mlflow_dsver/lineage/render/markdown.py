"""Renders a report as Markdown: tables that every viewer shows, no diagram language, no remote images.

All texts are escaped, so that an untrusted name is shown and not interpreted.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mlflow_dsver.lineage.graph import outline
from mlflow_dsver.lineage.render.views import Report
from mlflow_dsver.record.facts import Run, Use
from mlflow_dsver.record.mlflow_urls import MLflow
from mlflow_dsver.text import human_bytes, markdown, markdown_code


def render(report: Report, mlflow: MLflow) -> str:
    """The report. mlflow: where the runs can be looked at; an empty root for no links."""
    lines = [f"# {markdown(report.title)}", ""]
    if report.subtitle:
        lines += [markdown(report.subtitle), ""]
    lines += ["## Lineage", "", *_lineage(report), "", "## Datasets and their versions", "", *_versions(report)]
    lines += ["", "## Runs", "", *_runs(report, mlflow)]
    if report.orphans:
        lines += ["", "## Models whose run was deleted", "", *_orphans(report)]
    return "\n".join(lines) + "\n"


def _lineage(report: Report) -> Iterator[str]:
    for entry in outline(report.graph):
        label = f"{markdown(entry.label, 60)}: " if entry.label else ""
        detail = f" ({markdown(entry.node.detail, 80)})" if entry.node.detail else ""
        title = f"{entry.node.id.kind.value} **{markdown(entry.node.title, 80)}**"
        yield f"{'    ' * entry.depth}- {label}{title}{detail}"
    if report.graph.omitted:
        yield f"- and {report.graph.omitted:,} more, which the tables below have"


def _versions(report: Report) -> Iterator[str]:
    yield "| version | tags | first used | last used | size | grade | runs |"
    yield "|---" * 7 + "|"
    for _, rows in report.datasets:
        for row in rows:
            cells = [
                _version(row.use),
                markdown(", ".join(row.use.tags)),
                _date(row.first_used),
                _date(row.last_used),
                human_bytes(row.use.usage_bytes),
                markdown(row.use.grade),
                f"{row.runs:,}" if row.runs is not None else "",
            ]
            yield "| " + " | ".join(cells) + " |"


def _runs(report: Report, mlflow: MLflow) -> Iterator[str]:
    yield "| run | experiment | started | used | last check | models |"
    yield "|---" * 6 + "|"
    for run in report.runs:
        used = "<br>".join(f"{markdown(use.role)} {_version(use)} {markdown(use.grade)}" for use in run.uses)
        models = "<br>".join(markdown(model.key.removeprefix("models:/")) for model in run.models)
        cells = [_name(run, mlflow), markdown(run.experiment), _date(run.started), used]
        yield "| " + " | ".join([*cells, markdown((run.verdict or "").lower()), models]) + " |"


def _version(use: Use) -> str:
    name = f"**{markdown(use.dataset_name, 80)}** " if use.dataset_name else ""
    return name + markdown_code(use.version)


def _orphans(report: Report) -> Iterator[str]:
    yield "| model | made from |"
    yield "|---" * 2 + "|"
    for each in report.orphans:
        inputs = "<br>".join(f"{markdown(role)} {markdown_code(ref)}" for role, ref in each.made_from)
        yield f"| {markdown(each.model.key.removeprefix('models:/'))} | {inputs} |"


def _name(run: Run, mlflow: MLflow) -> str:
    name = markdown(run.name or run.run_id, 80)
    return f"[{name}](<{mlflow.run(run.experiment_id, run.run_id)}>)" if mlflow.root else name


def _date(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M}" if when else ""
