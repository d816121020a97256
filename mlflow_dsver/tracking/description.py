"""Writes the inputs of a run into its description, on request; MLflow renders it with working links.

Only the text between our two markers is written; the rest of the description stays as it is, byte for byte. The
markers are Markdown comments, so they are not shown.
"""

from __future__ import annotations

from typing import Any

from mlflow_dsver.errors import TrackingError
from mlflow_dsver.model.versions import Link
from mlflow_dsver.record import schema
from mlflow_dsver.record.mlflow_urls import MLflow, web_address
from mlflow_dsver.text import markdown, markdown_code
from mlflow_dsver.tracking import clients, record_writer
from mlflow_dsver.tracking.history import links_of
from mlflow_dsver.tracking.mlflow_private import active_workspace

NOTE = "mlflow.note.content"
"""The tag in which MLflow keeps a run's description."""
BEGIN, END = "<!-- dsver:begin -->", "<!-- dsver:end -->"


def describe(run_id: str) -> str:
    """Write the inputs of a run into its description, in the place of the block that was there; gives the block.

    Raises RunNotFound, and TrackingError when MLflow refuses or the description would become longer than MLflow
    keeps; nothing is written then.
    """
    client, until = clients.new_client(), clients.deadline()
    run: Any = clients.read_run(client, until, run_id)
    block = render(str(run.info.experiment_id), links_of(run_id))
    text = placed(run.data.tags.get(NOTE, ""), block)
    if len(text) > schema.VALUE_LIMIT:
        raise TrackingError(
            f"the description of run {run_id} would be too long",
            expected=f"at most {schema.VALUE_LIMIT} characters",
            got=len(text),
            done="Nothing was written",
        )
    clients.within(
        client, until, f"describe run {run_id}", lambda: record_writer.put_tags(client, run_id, {NOTE: text})
    )
    return block


def render(experiment_id: str, links: list[Link]) -> str:
    """The block, markers included: a line an input, with a link to the runs that used the same version."""
    lines = [BEGIN, "**Data**", ""]
    for link in links:
        runs = MLflow(workspace=active_workspace()).runs_using(experiment_id, link.version.ref).lstrip("/")
        page = web_address(link.version.web_url)
        more = f", [at {markdown(link.version.ref.provider)}](<{page}>)" if page else ""
        name = f"**{markdown(link.version.dataset_name, 80)}** " if link.version.dataset_name else ""
        entry = f"{name}{markdown_code(link.version.ref)}, grade {markdown(link.grade)}"
        lines.append(f"- {markdown(link.role)}: {entry} ([runs with it](<{runs}>){more})")
    return "\n".join([*lines, END])


def placed(text: str, block: str) -> str:
    """The description with the block in the place of the former one, else at its end; all else stays as it is."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if begin and end:
        return before + block + after
    return f"{text}\n\n{block}" if text else block
