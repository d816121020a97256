"""From evidence to verdict: a pure function, never better than the truth.

The rules. A MATCH needs a proof: bytes that were compared with the recorded digest, or, where no byte had to be
read, a provider that vouched for immutability when the link was made and still does. `full` takes nothing but
bytes hashed now, `sample` nothing less than a sample. A failure (down, slow, no permission, odd answer) is
UNREACHABLE or UNVERIFIABLE, whatever else agrees. The worst finding counts.

Of what the provider says, a difference in these makes CHANGED: content digest, usage bytes, and immutability that
was promised and no longer is. Tags, message, metadata, dates, creator, web address and other counts are labels that
people may edit: a difference there is a note, as is a size that was unknown before or is not stated any more.
A digest that somebody only wrote down beside a version (`digest_is_claimed`) is such a label too, once the bytes
themselves were proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from mlflow_dsver.checks.evidence import (
    ByteEvidence,
    Depth,
    Evidence,
    Finding,
    Lookup,
    Note,
    Proof,
    ReadStatus,
    Record,
    Subject,
    Verdict,
)
from mlflow_dsver.checks.reports import InputReport
from mlflow_dsver.model.manifests import Difference
from mlflow_dsver.model.versions import DatasetVersion, Grade, Letter, date_text
from mlflow_dsver.text import human_count, one_line

LABELS = ("tags", "message", "metadata", "created", "modified", "creator", "web_url", "counts")
"""Fields of a version whose change is noted and changes no verdict."""

_ENOUGH = {
    Depth.METADATA: (Proof.HASHED, Proof.CACHED, Proof.PROVIDER),
    Depth.DEFAULT: (Proof.HASHED, Proof.CACHED, Proof.PROVIDER),
    Depth.FULL: (Proof.HASHED,),
    Depth.SAMPLE: (Proof.HASHED, Proof.SAMPLED),
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of them; MATCH for none. ALIAS_MOVED never decides."""
    return max((v for v in verdicts if v is not Verdict.ALIAS_MOVED), key=lambda v: v.rank, default=Verdict.MATCH)


def judge(evidence: Evidence, *, require: Letter | None = None) -> InputReport:
    """The report on one input. require: links below this grade are an unmet demand, beside the verdict."""
    record, answer = evidence.record, evidence.answer
    proof = _proof(evidence)
    findings = [*record.findings]
    notes = [*record.notes, *evidence.notes]
    if evidence.alias is not None and evidence.alias.verdict not in (None, Verdict.MISSING):
        notes.append(Note(f"what {record.requested} means now could not be asked", found=evidence.alias.reason))
    if answer.version is None:
        findings.append(_elsewhere(record, answer) if answer.elsewhere else _failure(answer))
    else:
        findings += _provider_findings(record, answer.version, proof)
        notes += _label_notes(record.version, answer.version)
    findings += _byte_findings(record, evidence.bytes)
    grade = _grade_now(evidence, proof)
    if grade != record.grade:
        notes.append(Note("the provider vouches for less than was recorded", _label(record.grade), _label(grade)))
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
    seen, recorded = evidence.bytes, evidence.record.version
    if seen.seen is ReadStatus.READ and recorded.content_digest is not None:
        if seen.proof is Proof.SAMPLED:
            return Proof.NONE if seen.difference is None or seen.difference else Proof.SAMPLED
        return seen.proof if seen.digest == recorded.content_digest else Proof.NONE
    if evidence.record.vouched and evidence.answer.vouched:
        return Proof.PROVIDER
    return Proof.NONE


def _failure(answer: Lookup) -> Finding:
    assert answer.verdict is not None
    what = {
        Verdict.MISSING: "the provider does not have this version any more",
        Verdict.CHANGED: "what the provider keeps is damaged",
        Verdict.UNREACHABLE: "the provider could not be asked",
    }.get(answer.verdict, "the provider's answer cannot be used")
    return Finding(answer.verdict, Subject.PROVIDER, what, found=answer.reason)


def _elsewhere(record: Record, answer: Lookup) -> Finding:
    what = "this store does not know it"
    if record.host is not None:
        what += f"; the link was made on {one_line(record.host, 80)}"
    store = record.version.store
    expected = f"the store {one_line(store, 40)}" if store else None
    return Finding(Verdict.UNREACHABLE, Subject.PROVIDER, what, expected, answer.reason)


def _provider_findings(record: Record, now: DatasetVersion, proof: Proof) -> Iterator[Finding]:
    recorded = record.version

    def changed(what: str, expected: object, found: object) -> Finding:
        return Finding(Verdict.CHANGED, Subject.PROVIDER, what, str(expected), str(found))

    if now.ref != recorded.ref:
        yield Finding(
            Verdict.UNVERIFIABLE,
            Subject.PROVIDER,
            "the provider answers with another version than the one asked for",
            str(recorded.ref),
            str(now.ref),
        )
        return
    digests = (recorded.content_digest, now.content_digest)
    harmless = now.digest_is_claimed and proof in (Proof.HASHED, Proof.CACHED)
    if None not in digests and digests[0] != digests[1] and not harmless:
        what = "content digest written beside the version" if now.digest_is_claimed else "content digest"
        yield changed(what, *digests)
    if None not in (recorded.usage_bytes, now.usage_bytes) and recorded.usage_bytes != now.usage_bytes:
        yield changed("usage bytes", recorded.usage_bytes, now.usage_bytes)
    promised = recorded.immutable is None and record.grade is not None and record.grade.letter == "B"
    if (recorded.immutable is True and now.immutable is not True) or (promised and now.immutable is False):
        yield changed("immutable (committed, ready)", "yes", "no" if now.immutable is False else "not said")


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
        yield Note("immutable now, and was not said to be when the link was made")
    digests = (recorded.content_digest, now.content_digest)
    if now.digest_is_claimed and None not in digests and digests[0] != digests[1]:
        yield Note("content digest written beside the version", *digests)


def _label(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, datetime):
        return date_text(value) or "none"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)


def _byte_findings(record: Record, seen: ByteEvidence) -> Iterator[Finding]:
    def finding(verdict: Verdict, what: str, expected: str | None = None, found: str | None = None) -> Finding:
        paths = seen.paths or (paths_of(seen.difference) if seen.difference else ())
        return Finding(verdict, Subject.BYTES, what, expected, found, paths)

    expected = record.version.content_digest
    if seen.seen is ReadStatus.GONE:
        yield finding(Verdict.MISSING, "the files are gone", found=seen.reason)
    elif seen.seen is ReadStatus.DAMAGED:
        yield finding(Verdict.CHANGED, "the files are damaged", found=seen.reason)
    elif seen.seen is ReadStatus.FAILED:
        yield finding(Verdict.UNVERIFIABLE, "the files could not be read", found=seen.reason)
    elif seen.seen is ReadStatus.UNREACHABLE:
        yield finding(Verdict.UNREACHABLE, "the files could not be fetched", found=seen.reason)
    elif seen.seen is ReadStatus.READ and expected is not None:
        if seen.difference:
            yield finding(Verdict.CHANGED, difference_in_words(seen.difference), expected, seen.digest)
        elif seen.proof is not Proof.SAMPLED and seen.digest != expected:
            yield finding(Verdict.CHANGED, "the files have another content digest", expected, seen.digest)


def _unproven(evidence: Evidence) -> Finding:
    recorded, seen = evidence.record.version, evidence.bytes
    if recorded.content_digest is None and (
        seen.seen is ReadStatus.READ or evidence.depth in (Depth.FULL, Depth.SAMPLE)
    ):
        what = "no content digest was recorded, so there is nothing to compare the files with"
    elif seen.seen is ReadStatus.READ:
        what = "files are left out by patterns that the record does not vouch for"
    elif evidence.depth in (Depth.FULL, Depth.SAMPLE):
        what = "the files could not be had, and this depth takes no one's word"
    elif not evidence.record.vouched:
        what = "the provider did not vouch for the bytes when the link was made, and no file was compared"
    else:
        what = "nothing proves that the data is the same"
    return Finding(Verdict.UNVERIFIABLE, Subject.BYTES, what, found=seen.reason)


def _alias_findings(record: Record, alias: Lookup | None) -> Iterator[Finding]:
    if alias is None:
        return
    if alias.version is not None and alias.version.ref != record.version.ref:
        what, found = f"{record.requested} means something else by now", str(alias.version.ref)
    elif alias.verdict is Verdict.MISSING:
        what, found = f"{record.requested} means nothing any more", alias.reason or "nothing"
    else:
        return
    yield Finding(Verdict.ALIAS_MOVED, Subject.ALIAS, what, str(record.version.ref), found)


def _unmet(grade: Grade | None, require: Letter | None) -> tuple[str, ...]:
    if require is None or (grade is not None and grade.meets(require)):
        return ()
    return (f"grade {grade or 'unknown'}, and {require} is required",)


def _grade_now(evidence: Evidence, proof: Proof) -> Grade | None:
    """The recorded grade, or the provider's present one where that is worse.

    Bytes of grade A that were compared just now need no provider that knows their digest; where they are others, that
    is the finding, and says nothing of the grade that they had.
    """
    recorded, answer = evidence.record.grade, evidence.answer
    if recorded is None or answer.version is None or answer.grade is None or answer.grade.meets(recorded.letter):
        return recorded
    knows = answer.version.content_digest is not None and not answer.version.digest_is_claimed
    seen = evidence.bytes
    others = seen.seen is ReadStatus.READ and seen.digest not in (None, evidence.record.version.content_digest)
    compared = proof in (Proof.HASHED, Proof.CACHED) or others
    if recorded.letter == "A" and not knows and answer.vouched and compared:
        return recorded
    return replace(recorded, letter=answer.grade.letter)


def paths_of(difference: Difference) -> tuple[str, ...]:
    """Every path that a difference is about, sorted."""
    single = (*difference.added, *difference.removed)
    pairs = (*difference.changed, *difference.renamed)
    return tuple(sorted({entry.path for entry in single} | {entry.path for pair in pairs for entry in pair}))


def difference_in_words(difference: Difference) -> str:
    """`4 files differ: 2 changed, 1 added, 1 removed`; `no difference` for none."""
    if not difference:
        return "no difference"
    counts = {
        "changed": len(difference.changed),
        "added": len(difference.added),
        "removed": len(difference.removed),
        "renamed": len(difference.renamed),
    }
    parts = [f"{count:,} {word}" for word, count in counts.items() if count]
    return f"{human_count(sum(counts.values()), 'file differs', 'files differ')}: {', '.join(parts)}"
