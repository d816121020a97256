"""From evidence to verdict, as a pure function: an input never gets a better verdict than its evidence proves.

A MATCH needs a proof: files compared with the recorded digest, or, if no file had to be read, a provider that
guaranteed immutability when the link was made and still does. `full` accepts only files hashed now, `sample` at
least a sample. A failure (provider down, timeout, no permission, malformed response) is UNREACHABLE or UNVERIFIABLE,
whatever else matches. The worst finding decides.

Of the provider's description, a difference in these fields is CHANGED: content digest, usage bytes, and immutability
that was guaranteed and no longer is. Tags, message, metadata, dates, creator, web address and other counts are labels
that users may edit: a difference there is a note, as is a size that was unknown before or is no longer reported.
A digest that a user stored beside a version (`digest_is_claimed`) is such a label too, if the files themselves were
hashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from mlflow_dsver.checks.reports import (
    ByteEvidence,
    Depth,
    Evidence,
    Finding,
    InputReport,
    Lookup,
    Note,
    Proof,
    ReadStatus,
    Record,
    Subject,
    Verdict,
)
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.versions import DatasetVersion, Grade, Letter
from mlflow_dsver.text import human_count, one_line

LABELS = ("tags", "message", "metadata", "created", "modified", "creator", "web_url", "counts")
"""Fields of a version whose change is a note and does not affect the verdict."""

_ENOUGH = {
    Depth.METADATA: (Proof.HASHED, Proof.CACHED, Proof.STORE, Proof.PROVIDER),
    Depth.DEFAULT: (Proof.HASHED, Proof.CACHED, Proof.STORE, Proof.PROVIDER),
    Depth.FULL: (Proof.HASHED,),
    Depth.SAMPLE: (Proof.HASHED, Proof.SAMPLED),
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst verdict; MATCH for an empty argument. ALIAS_MOVED never decides."""
    return max((v for v in verdicts if v is not Verdict.ALIAS_MOVED), key=lambda v: v.rank, default=Verdict.MATCH)


def judge(evidence: Evidence, *, require: Letter | None = None) -> InputReport:
    """The report on one input. require: a lower grade is an unmet requirement, independent of the verdict."""
    record, lookup = evidence.record, evidence.lookup
    proof = _proof(evidence)
    findings = [*record.findings]
    notes = [*record.notes, *evidence.notes]
    if evidence.alias is not None and evidence.alias.verdict not in (None, Verdict.MISSING):
        notes.append(Note(f"{record.requested} could not be resolved again", found=evidence.alias.reason))
    if lookup.version is None:
        findings.append(_elsewhere(record, lookup) if lookup.elsewhere else _failure(lookup))
    else:
        findings += _provider_findings(record, lookup.version, proof)
        notes += _label_notes(record.version, lookup.version)
    findings += _byte_findings(record, evidence.bytes)
    grade = _grade_now(evidence, proof)
    if grade != record.grade:
        notes.append(Note("the provider now proves less than was recorded", _label(record.grade), _label(grade)))
    verdict = worst(finding.verdict for finding in findings)
    if verdict is Verdict.MATCH and proof not in _ENOUGH[evidence.depth]:
        findings.append(_unproven(evidence))
        verdict = Verdict.UNVERIFIABLE
    findings += _alias_findings(record, evidence.alias)
    return InputReport(
        role=record.role,
        requested=record.requested,
        version=record.version.ref,
        grade=grade,
        verdict=verdict,
        proof=proof if verdict is Verdict.MATCH else Proof.NONE,
        findings=tuple(findings),
        notes=tuple(notes),
        unmet=_unmet(grade, require),
        files_read=evidence.bytes.files,
        bytes_read=evidence.bytes.bytes,
        difference=evidence.bytes.difference or None,
        statement=evidence.bytes.statement if verdict is Verdict.MATCH else None,
    )


def _proof(evidence: Evidence) -> Proof:
    read, recorded = evidence.bytes, evidence.record.version
    if read.status is ReadStatus.READ and recorded.content_digest is not None:
        if read.proof is Proof.SAMPLED:
            return Proof.NONE if read.difference is None or read.difference else Proof.SAMPLED
        return read.proof if read.digest == recorded.content_digest else Proof.NONE
    if evidence.record.guaranteed and evidence.lookup.guaranteed:
        return Proof.PROVIDER
    return Proof.NONE


def _failure(lookup: Lookup) -> Finding:
    assert lookup.verdict is not None
    what = {
        Verdict.MISSING: "the provider no longer has this version",
        Verdict.CHANGED: "the provider's copy is damaged",
        Verdict.UNREACHABLE: "the provider could not be reached",
    }.get(lookup.verdict, "the provider's response cannot be used")
    return Finding(lookup.verdict, Subject.PROVIDER, what, found=lookup.reason)


def _elsewhere(record: Record, lookup: Lookup) -> Finding:
    what = "this store does not have it"
    if record.host is not None:
        what += f"; the link was made on {one_line(record.host, 80)}"
    store = record.version.store
    expected = f"the store {one_line(store, 40)}" if store else None
    return Finding(Verdict.UNREACHABLE, Subject.PROVIDER, what, expected, lookup.reason)


def _provider_findings(record: Record, now: DatasetVersion, proof: Proof) -> Iterator[Finding]:
    recorded = record.version

    def changed(what: str, expected: object, found: object) -> Finding:
        return Finding(Verdict.CHANGED, Subject.PROVIDER, what, str(expected), str(found))

    if now.ref != recorded.ref:
        yield Finding(
            Verdict.UNVERIFIABLE,
            Subject.PROVIDER,
            "the provider returned another version than the requested one",
            str(recorded.ref),
            str(now.ref),
        )
        return
    digests = (recorded.content_digest, now.content_digest)
    is_label = now.digest_is_claimed and proof in (Proof.HASHED, Proof.CACHED)
    if None not in digests and digests[0] != digests[1] and not is_label:
        what = "content digest stored beside the version" if now.digest_is_claimed else "content digest"
        yield changed(what, *digests)
    if None not in (recorded.usage_bytes, now.usage_bytes) and recorded.usage_bytes != now.usage_bytes:
        yield changed("usage bytes", recorded.usage_bytes, now.usage_bytes)
    guaranteed = recorded.immutable is None and record.grade is not None and record.grade.letter == "B"
    if (recorded.immutable is True and now.immutable is not True) or (guaranteed and now.immutable is False):
        yield changed("immutable (committed, ready)", "yes", "no" if now.immutable is False else "unknown")


def _label_notes(recorded: DatasetVersion, now: DatasetVersion) -> Iterator[Note]:
    if now.ref != recorded.ref:
        return
    for name in LABELS:
        before, after = getattr(recorded, name), getattr(now, name)
        if before != after and not (name != "tags" and before in (None, {}) and after in (None, {})):
            yield Note(f"{name.replace('_', ' ')} changed", _label(before), _label(after))
    if recorded.usage_bytes != now.usage_bytes and None in (recorded.usage_bytes, now.usage_bytes):
        yield Note("usage bytes", _label(recorded.usage_bytes), _label(now.usage_bytes))
    if now.immutable is True and recorded.immutable is not True:
        yield Note("immutable now, and not known to be when the link was made")
    digests = (recorded.content_digest, now.content_digest)
    if now.digest_is_claimed and None not in digests and digests[0] != digests[1]:
        yield Note("content digest stored beside the version", *digests)


def _label(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return date_text(value) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)


def _byte_findings(record: Record, read: ByteEvidence) -> Iterator[Finding]:
    def finding(verdict: Verdict, what: str, expected: str | None = None, found: str | None = None) -> Finding:
        paths = read.paths or (paths_of(read.difference) if read.difference else ())
        return Finding(verdict, Subject.BYTES, what, expected, found, paths)

    expected = record.version.content_digest
    if read.status is ReadStatus.GONE:
        yield finding(Verdict.MISSING, "the files are missing", found=read.reason)
    elif read.status is ReadStatus.DAMAGED:
        yield finding(Verdict.CHANGED, "the files are damaged", found=read.reason)
    elif read.status is ReadStatus.FAILED:
        yield finding(Verdict.UNVERIFIABLE, "the files could not be read", found=read.reason)
    elif read.status is ReadStatus.UNREACHABLE:
        yield finding(Verdict.UNREACHABLE, "the files could not be fetched", found=read.reason)
    elif read.status is ReadStatus.READ and expected is not None:
        if read.difference:
            yield finding(Verdict.CHANGED, difference_counts(read.difference), expected, read.digest)
        elif read.proof is not Proof.SAMPLED and read.digest != expected:
            yield finding(Verdict.CHANGED, "the files have another content digest", expected, read.digest)


def _unproven(evidence: Evidence) -> Finding:
    recorded, read = evidence.record.version, evidence.bytes
    if recorded.content_digest is None and (
        read.status is ReadStatus.READ or evidence.depth in (Depth.FULL, Depth.SAMPLE)
    ):
        what = "no content digest was recorded, so there is nothing to compare the files with"
    elif read.status is ReadStatus.READ:
        what = "files are excluded by ignore patterns that the record does not prove"
    elif evidence.depth in (Depth.FULL, Depth.SAMPLE):
        what = "the files could not be read, and this depth accepts no other proof"
    elif not evidence.record.guaranteed:
        what = "the provider did not guarantee immutability when the link was made, and no file was compared"
    else:
        what = "nothing proves that the data is the same"
    return Finding(Verdict.UNVERIFIABLE, Subject.BYTES, what, found=read.reason)


def _alias_findings(record: Record, alias: Lookup | None) -> Iterator[Finding]:
    if alias is None:
        return
    if alias.version is not None and alias.version.ref != record.version.ref:
        what, found = f"{record.requested} now resolves to another version", str(alias.version.ref)
    elif alias.verdict is Verdict.MISSING:
        what, found = f"{record.requested} no longer resolves to a version", alias.reason or "nothing"
    else:
        return
    yield Finding(Verdict.ALIAS_MOVED, Subject.ALIAS, what, str(record.version.ref), found)


def _unmet(grade: Grade | None, require: Letter | None) -> tuple[str, ...]:
    if require is None or (grade is not None and grade.meets(require)):
        return ()
    return (f"grade {grade or 'unknown'}, and {require} is required",)


def _grade_now(evidence: Evidence, proof: Proof) -> Grade | None:
    """The recorded grade, or the provider's present one if that is worse.

    If the files were hashed now, grade A does not need a provider that reports their digest. If they differ, the
    difference is a finding and does not affect the grade.
    """
    recorded, lookup = evidence.record.grade, evidence.lookup
    if recorded is None or lookup.version is None or lookup.grade is None or lookup.grade.meets(recorded.letter):
        return recorded
    has_digest = lookup.version.content_digest is not None and not lookup.version.digest_is_claimed
    read = evidence.bytes
    differs = read.status is ReadStatus.READ and read.digest not in (None, evidence.record.version.content_digest)
    compared = proof in (Proof.HASHED, Proof.CACHED) or differs
    if recorded.letter == "A" and not has_digest and lookup.guaranteed and compared:
        return recorded
    return replace(recorded, letter=lookup.grade.letter)


def paths_of(difference: Difference) -> tuple[str, ...]:
    """All paths in a difference, sorted."""
    single = (*difference.added, *difference.removed)
    pairs = (*difference.changed, *difference.renamed)
    return tuple(sorted({entry.path for entry in single} | {entry.path for pair in pairs for entry in pair}))


def difference_counts(difference: Difference) -> str:
    """`4 files differ: 2 changed, 1 added, 1 removed`; `no difference` for none."""
    if not difference:
        unknown = human_count(len(difference.unknown), "file")
        return f"{unknown} cannot be compared" if difference.unknown else "no difference"
    counts = {
        "changed": len(difference.changed),
        "added": len(difference.added),
        "removed": len(difference.removed),
        "renamed": len(difference.renamed),
    }
    parts = [f"{count:,} {word}" for word, count in counts.items() if count]
    return f"{human_count(sum(counts.values()), 'file differs', 'files differ')}: {', '.join(parts)}"
