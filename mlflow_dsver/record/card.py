"""The card of a run, `dsver/card.md`: every input, how much its link proves, and what changed since the last run.

Markdown, because MLflow's pages render it with working links. A pure function from values to text. Every name, tag
and message in it may be hostile and is escaped; links are http or https addresses and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC

from mlflow_dsver._version import __version__
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.versions import DatasetVersion, Link
from mlflow_dsver.record.dataset_source import short_web_address
from mlflow_dsver.record.mlflow_urls import MLflow
from mlflow_dsver.text import human_bytes, human_count, markdown, markdown_code

GRADES = {
    "A": "the bytes were hashed here",
    "B": "the provider says that the version cannot change",
    "C": "only sizes, ETags or dates were compared",
    "D": "the version may change, or nothing is known",
}
SHOWN_PATHS = 10


@dataclass(frozen=True, slots=True)
class PreviousRun:
    """The last linked run of the experiment before this one.

    links: role to link. files: role to the difference of the two manifests, where both are known.
    """

    run_id: str
    run_name: str
    links: Mapping[str, Link]
    files: Mapping[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RelatedRuns:
    """Recent runs of the experiment that used the same versions, newest first.

    runs: run id, name and links by role of each. workspace: that of the experiment; None where there is none.
    """

    experiment_id: str
    runs: Sequence[tuple[str, str, Mapping[str, Link]]] = ()
    workspace: str | None = None


def render(
    links: Sequence[Link],
    files: Mapping[str, int],
    previous: PreviousRun | None,
    without_inputs: bool = False,
    related: RelatedRuns | None = None,
    overridden: Mapping[str, str] | None = None,
) -> str:
    """The card. links: all inputs of the run. files: role to number of files, where known.

    previous: None when no earlier run of the experiment is linked. without_inputs: the tracking server took no
    dataset inputs, so the link is in params and tags alone. related: other runs of these versions; None: unknown.
    overridden: role to the reference that the script requested, where a person overrode it.
    """
    lines = ["# Datasets of this run", ""]
    lines += [
        "| role | dataset version | asked for | grade | size | files | tags | created (UTC) |",
        "|---" * 8 + "|",
    ]
    lines += [_row(link, files.get(link.role)) for link in links]
    lines.append("")
    letters = sorted({link.grade.letter for link in links})
    lines += [f"- Grade {letter}: {GRADES[letter]}." for letter in letters]
    lines += [f"- {markdown(link.role)}: {markdown(link.version.message)}" for link in links if link.version.message]
    for role, requested in sorted((overridden or {}).items()):
        lines.append(f"- {markdown(role)}: overridden; the script asked for {markdown_code(requested)}.")
    if without_inputs:
        lines.append("- This tracking server takes no dataset inputs: the links are in params and tags alone.")
    lines += ["", "## Since the last run of this experiment", "", *_since(links, previous)]
    if related is not None:
        lines += ["", "## Who else used these versions", "", *_lineage(links, related)]
    lines += ["", f"Recorded by mlflow\\-dsver {__version__}, schema 1."]
    return "\n".join(lines) + "\n"


def _lineage(links: Sequence[Link], related: RelatedRuns) -> list[str]:
    """Dataset, version and runs as nested lists; the addresses are those of the very page that shows the card."""
    pages = MLflow(workspace=related.workspace)
    lines = []
    for ref in dict.fromkeys(link.version.ref for link in links):
        roles = ", ".join(markdown(link.role) for link in links if link.version.ref == ref)
        address = pages.runs_using(related.experiment_id, ref).lstrip("/")
        lines += [f"- dataset {markdown_code(ref.at(None))}", f"    - version {markdown_code(ref)}"]
        lines.append(f"        - **this run**: {roles} ([all runs of this experiment with it](<{address}>))")
        for run_id, name, others in related.runs:
            roles = ", ".join(markdown(role) for role, link in others.items() if link.version.ref == ref)
            if roles:
                address = pages.run(related.experiment_id, run_id).lstrip("/")
                lines.append(f"        - [{markdown(name or run_id)}](<{address}>): {roles}")
    return lines


def _row(link: Link, files: int | None) -> str:
    version = link.version
    cells = [
        markdown(link.role),
        _linked(version),
        markdown_code(link.requested),
        markdown(link.grade),
        human_bytes(version.usage_bytes),
        "" if files is None else f"{files:,}",
        markdown(", ".join(version.tags)),
        f"{version.created.astimezone(UTC):%Y-%m-%d %H:%M}" if version.created else "",
    ]
    return "| " + " | ".join(cells) + " |"


def _linked(version: DatasetVersion) -> str:
    address = short_web_address(version.web_url)
    name = f"**{markdown(version.dataset_name, 80)}** " if version.dataset_name else ""
    code = markdown_code(version.ref)
    if address is None:
        return name + code
    return f"{name}[{code}](<{address.replace('|', '%7C')}>)"


def _since(links: Sequence[Link], previous: PreviousRun | None) -> list[str]:
    if previous is None:
        return ["No earlier run of this experiment has linked datasets."]
    lines = [f"Compared with {markdown(previous.run_name)} ({markdown_code(previous.run_id)}):", ""]
    for link in links:
        before = previous.links.get(link.role)
        lines += _change(link, before, previous.files.get(link.role))
    here = {link.role for link in links}
    lines += [f"- {markdown(role)}: not used any more" for role in previous.links if role not in here]
    return lines


def _change(link: Link, before: Link | None, files: Difference | None) -> list[str]:
    role, now = markdown(link.role), link.version
    if before is None:
        return [f"- {role}: new, the last run had no such input"]
    was = before.version
    if was.ref == now.ref:
        return [f"- {role}: the same version"]
    if was.content_digest and was.content_digest == now.content_digest:
        return [f"- {role}: {markdown_code(was.ref)} → {markdown_code(now.ref)}, the same content"]
    lines = [f"- {role}: {markdown_code(was.ref)} → {markdown_code(now.ref)}"]
    if was.usage_bytes is not None and now.usage_bytes is not None:
        lines.append(f"    - size {human_bytes(was.usage_bytes)} → {human_bytes(now.usage_bytes)}")
    return lines + (_files(files) if files is not None else [])


def _files(files: Difference) -> list[str]:
    counts = {
        "changed": len(files.changed),
        "added": len(files.added),
        "removed": len(files.removed),
        "renamed": len(files.renamed),
    }
    texts = ", ".join(f"{human_count(count, 'file')} {what}" for what, count in counts.items() if count)
    paths = [after.path for _, after in files.changed] + [entry.path for entry in (*files.added, *files.removed)]
    paths += [f"{before.path} → {after.path}" for before, after in files.renamed]
    shown = ", ".join(markdown_code(path, 120) for path in paths[:SHOWN_PATHS])
    more = f" and {len(paths) - SHOWN_PATHS:,} more" if len(paths) > SHOWN_PATHS else ""
    return [f"    - {texts or 'no file differs'}, {files.unchanged:,} unchanged"] + (
        [f"    - {shown}{more}"] if paths else []
    )
