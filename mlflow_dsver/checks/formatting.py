"""Text fragments that all renderers of reports share. Pure.

Text from outside is escaped and shortened to one line here, or by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_dsver.checks.reports import Finding, InputReport, Note, Proof, Report, RunReport, SignatureReport, Verdict
from mlflow_dsver.checks.verdicts import difference_counts
from mlflow_dsver.model.manifests import Difference
from mlflow_dsver.text import human_bytes, human_count, one_line

PATHS = 20
"""Maximum number of paths shown of a finding or of a kind of difference; the JSON has all of them."""

MEANING = {
    Verdict.MATCH: "the data is available and is what was recorded",
    Verdict.ALIAS_MOVED: "the requested reference now resolves to another version",
    Verdict.UNVERIFIABLE: "nothing proves or disproves that the data is the same",
    Verdict.UNREACHABLE: "the provider or its files could not be reached",
    Verdict.CHANGED: "the data or its record differs from what was recorded",
    Verdict.MISSING: "the data is no longer available",
}


def run_title(run: RunReport) -> str:
    """`fit-digits (3f2a…) in demo`."""
    name = f"{one_line(run.name, 80)} ({one_line(run.run_id, 40)})" if run.name else one_line(run.run_id, 40)
    return f"{name} in {one_line(run.experiment, 80)}"


def proof_text(report: InputReport) -> str:
    """The proof of a match and how much was read; empty if it is not a match."""
    if report.proof is Proof.NONE:
        return ""
    read = ""
    if report.files_read:
        read = f": {human_count(report.files_read, 'file')}, {human_bytes(report.bytes_read)}"
    return f"{report.proof}{read}"


def signature_text(signature: SignatureReport) -> str:
    """What a valid signature proves; empty if it is not valid."""
    return f"signed by the owner of {one_line(signature.key, 300)}, and the run says the same" if signature else ""


def finding_text(finding: Finding) -> str:
    """The finding with what was expected and found, without the paths."""
    return _joined(f"{finding.subject}: {finding.what}", finding.expected, finding.found)


def note_text(note: Note) -> str:
    """The note with what was expected and found."""
    return _joined(note.what, note.expected, note.found)


def difference_lines(difference: Difference, limit: int = PATHS) -> Iterator[str]:
    """One line per file: changed, added, removed, renamed; at most `limit` of each kind, and the number of others."""
    changed = [
        f"changed  {_path(after.path)}  {human_bytes(before.bytes)} → {human_bytes(after.bytes)}"
        for before, after in difference.changed[:limit]
    ]
    yield from _some(changed, len(difference.changed), "changed")
    added = [f"added    {_path(each.path)}  {human_bytes(each.bytes)}" for each in difference.added[:limit]]
    yield from _some(added, len(difference.added), "added")
    removed = [f"removed  {_path(each.path)}  {human_bytes(each.bytes)}" for each in difference.removed[:limit]]
    yield from _some(removed, len(difference.removed), "removed")
    renamed = [f"renamed  {_path(before.path)} → {_path(after.path)}" for before, after in difference.renamed[:limit]]
    yield from _some(renamed, len(difference.renamed), "renamed")


def difference_summary(difference: Difference) -> str:
    """`5 files differ: 2 changed, 3 added; 1,790 files unchanged; +1.2 MiB`."""
    growth = difference.growth
    sign = "+" if growth > 0 else ""
    unchanged = human_count(difference.unchanged, "file")
    return f"{difference_counts(difference)}; {unchanged} unchanged; {sign}{human_bytes(growth)}"


def path_lines(paths: tuple[str, ...], limit: int = PATHS) -> Iterator[str]:
    """At most `limit` paths, and the number of the others."""
    yield from _some([_path(path) for path in paths[:limit]], len(paths), "")


def detail_lines(report: InputReport, finding: Finding) -> Iterator[str]:
    """The files that a finding concerns: as a difference if there is one, else as paths."""
    if finding.paths and report.difference is not None:
        yield from difference_lines(report.difference)
    else:
        yield from path_lines(finding.paths)


def totals(report: Report) -> str:
    """`3 runs: 2 MATCH, 1 CHANGED; 1 run has no link; 4 versions requested from providers; depth full`."""
    counts = {verdict: sum(run.verdict is verdict for run in report.linked) for verdict in Verdict}
    listed = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items() if count)
    text = human_count(len(report.runs), "run") + (f": {listed}" if listed else "")
    unlinked = len(report.runs) - len(report.linked)
    if unlinked:
        text += f"; {human_count(unlinked, 'run has no link', 'runs have no link')}"
    return f"{text}; {human_count(report.resolutions, 'version')} requested from providers; depth {report.depth}"


def _joined(what: str, expected: str | None, found: str | None) -> str:
    text = one_line(what, 300)
    if expected is not None:
        text += f"; expected {one_line(expected, 300)}"
    if found is not None:
        text += f"; found {one_line(found, 600)}" if expected is not None else f" ({one_line(found, 600)})"
    return text


def _path(path: str) -> str:
    return one_line(path, 300)


def _some(lines: list[str], total: int, kind: str) -> Iterator[str]:
    yield from lines
    if total > len(lines):
        yield f"{total - len(lines):,} more {kind}".rstrip()
