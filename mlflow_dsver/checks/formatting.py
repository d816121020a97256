"""Words that all renderers of reports share. Pure; what comes from outside is made harmless here or by the caller."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow_dsver.checks.evidence import Finding, Note, Proof, Verdict
from mlflow_dsver.checks.reports import InputReport, Report, RunReport, SignatureReport
from mlflow_dsver.checks.verdicts import difference_in_words
from mlflow_dsver.model.manifests import Difference
from mlflow_dsver.text import human_bytes, human_count, one_line

PATHS = 20
"""Paths that are shown of one finding or one kind of difference; the JSON has them all."""

MEANING = {
    Verdict.MATCH: "the data can be had and is what was recorded",
    Verdict.ALIAS_MOVED: "what was asked for means something else by now",
    Verdict.UNVERIFIABLE: "nothing proves or disproves that the data is the same",
    Verdict.UNREACHABLE: "somebody who knows did not answer",
    Verdict.CHANGED: "the data or its record is not what it was",
    Verdict.MISSING: "the data cannot be had any more",
}


def run_title(run: RunReport) -> str:
    """`fit-digits (3f2a…) in demo`."""
    name = f"{one_line(run.name, 80)} ({one_line(run.run_id, 40)})" if run.name else one_line(run.run_id, 40)
    return f"{name} in {one_line(run.experiment, 80)}"


def rests_on(report: InputReport) -> str:
    """What a match rests on, with how much was read; empty text when it is no match."""
    if report.proof is Proof.NONE:
        return ""
    read = ""
    if report.files_read:
        read = f": {human_count(report.files_read, 'file')}, {human_bytes(report.bytes_read)}"
    return f"{report.proof}{read}"


def signature_rests_on(signature: SignatureReport) -> str:
    """What a good signature says; empty text when it is not good."""
    return f"signed by the owner of {one_line(signature.key, 300)}, and the run says the same" if signature else ""


def finding_words(finding: Finding) -> str:
    """What was seen, expected and found, without the paths."""
    return _joined(f"{finding.subject}: {finding.what}", finding.expected, finding.found)


def note_words(note: Note) -> str:
    """What differs without touching the verdict."""
    return _joined(note.what, note.expected, note.found)


def difference_lines(difference: Difference, limit: int = PATHS) -> Iterator[str]:
    """One line a file: changed, added, removed, renamed; of each kind the first ones, and how many more there are."""
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
    return f"{difference_in_words(difference)}; {unchanged} unchanged; {sign}{human_bytes(growth)}"


def path_lines(paths: tuple[str, ...], limit: int = PATHS) -> Iterator[str]:
    """The first paths, and how many more there are."""
    yield from _some([_path(path) for path in paths[:limit]], len(paths), "")


def detail_lines(report: InputReport, finding: Finding) -> Iterator[str]:
    """Which files a finding is about: as a difference where there is one, else their paths."""
    if finding.paths and report.difference is not None:
        yield from difference_lines(report.difference)
    else:
        yield from path_lines(finding.paths)


def totals(report: Report) -> str:
    """`3 runs: 2 MATCH, 1 CHANGED; 1 run has no link; 4 versions asked for`."""
    counts = {verdict: sum(run.verdict is verdict for run in report.linked) for verdict in Verdict}
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items() if count)
    text = human_count(len(report.runs), "run") + (f": {told}" if told else "")
    unlinked = len(report.runs) - len(report.linked)
    if unlinked:
        text += f"; {human_count(unlinked, 'run has no link', 'runs have no link')}"
    return f"{text}; {human_count(report.resolutions, 'question')} to providers; depth {report.depth}"


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
