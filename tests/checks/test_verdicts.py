"""The verdict logic: named cases, and invariants over all combinations of evidence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product

import pytest

from mlflow_dsver.checks.reports import (
    ByteEvidence,
    Depth,
    Evidence,
    Finding,
    Lookup,
    Proof,
    ReadStatus,
    Record,
    Subject,
    Verdict,
)
from mlflow_dsver.checks.verdicts import difference_counts, judge, worst
from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.manifests import FileEntry
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade

DIGEST, OTHER = "blake3:" + "a" * 64, "blake3:" + "b" * 64
KEPT = DatasetVersion(parse("local://d@1"), usage_bytes=100, content_digest=DIGEST, immutable=True)
VOUCHED = replace(KEPT, content_digest=None)
MUTABLE = replace(KEPT, immutable=False)
LOOSE = replace(KEPT, content_digest=None, immutable=False)
ONE, TWO = FileEntry("a", 1, "a" * 64), FileEntry("a", 2, "b" * 64)
CHANGE = Difference(changed=((ONE, TWO),))

CONTRADICTION = Finding(Verdict.CHANGED, Subject.RECORD, "param and tag disagree")
UNREAD = Finding(Verdict.UNREACHABLE, Subject.RECORD, "the artifacts could not be read")

RECORDS = {
    "kept": Record("training", "local://d@1", KEPT, Grade("A"), guaranteed=True),
    "guaranteed": Record("training", "local://d@1", VOUCHED, Grade("B"), guaranteed=True),
    "mutable": Record("training", "local://d@1", MUTABLE, Grade("A")),
    "loose": Record("training", "local://d@1", LOOSE, Grade("D")),
    "contradictory": Record("training", "local://d@1", KEPT, Grade("A"), True, (CONTRADICTION,)),
    "unread": Record("training", "local://d@1", KEPT, Grade("A"), True, (UNREAD,)),
}
ANSWERS = [
    "same",
    "relabelled",
    "digest",
    "claimed",
    "bytes",
    "uncommitted",
    "another",
    "gone",
    "down",
    "odd",
    "damaged",
]
BYTES = {
    "not asked": ByteEvidence(ReadStatus.NOT_REQUESTED),
    "not at hand": ByteEvidence(ReadStatus.NOT_LOCAL, reason="no mount"),
    "failed": ByteEvidence(ReadStatus.FAILED, reason="permission denied", paths=("a",)),
    "unfetched": ByteEvidence(ReadStatus.UNREACHABLE, reason="time-out"),
    "gone": ByteEvidence(ReadStatus.GONE, reason="no such folder"),
    "damaged": ByteEvidence(ReadStatus.DAMAGED, paths=("a",)),
    "hashed": ByteEvidence(ReadStatus.READ, proof=Proof.HASHED, digest=DIGEST, difference=Difference(unchanged=1)),
    "hashed blind": ByteEvidence(ReadStatus.READ, proof=Proof.HASHED, digest=DIGEST),
    "cached": ByteEvidence(ReadStatus.READ, proof=Proof.CACHED, digest=DIGEST),
    "sampled": ByteEvidence(
        ReadStatus.READ, proof=Proof.SAMPLED, difference=Difference(unchanged=1), statement="1 of 9"
    ),
    "hashed other": ByteEvidence(ReadStatus.READ, proof=Proof.HASHED, digest=OTHER, difference=CHANGE),
    "hashed other, blind": ByteEvidence(ReadStatus.READ, proof=Proof.HASHED, digest=OTHER),
    "cached other": ByteEvidence(ReadStatus.READ, proof=Proof.CACHED, digest=OTHER),
    "sampled other": ByteEvidence(ReadStatus.READ, proof=Proof.SAMPLED, difference=CHANGE),
}


def answer(kind: str, recorded: DatasetVersion) -> Lookup:
    """The provider's lookup of the recorded version."""
    failures = {
        "gone": Verdict.MISSING,
        "down": Verdict.UNREACHABLE,
        "odd": Verdict.UNVERIFIABLE,
        "damaged": Verdict.CHANGED,
    }
    if kind in failures:
        return Lookup(verdict=failures[kind], reason="as told")
    now = {
        "same": recorded,
        "relabelled": replace(
            recorded, tags=("new",), message="other", metadata={"a": 1}, modified=datetime(2026, 1, 1, tzinfo=UTC)
        ),
        "digest": replace(recorded, content_digest=OTHER),
        "claimed": replace(recorded, content_digest=OTHER, digest_is_claimed=True),
        "bytes": replace(recorded, usage_bytes=101),
        "uncommitted": replace(recorded, immutable=False),
        "another": replace(recorded, ref=parse("local://d@2")),
    }[kind]
    return Lookup(version=now, guaranteed=now.immutable is True)


def verdict(record: str, kind: str, seen: str, depth: Depth) -> Verdict:
    of = RECORDS[record]
    return judge(Evidence(of, answer(kind, of.version), BYTES[seen], depth=depth)).verdict


M, V, R, C, G = (Verdict.MATCH, Verdict.UNVERIFIABLE, Verdict.UNREACHABLE, Verdict.CHANGED, Verdict.MISSING)


@pytest.mark.parametrize(
    ("record", "kind", "seen", "depth", "expected"),
    [
        ("kept", "same", "hashed", "default", M),
        ("kept", "same", "cached", "default", M),
        ("kept", "same", "cached", "full", V),
        ("kept", "same", "not at hand", "default", M),
        ("kept", "same", "not at hand", "full", V),
        ("kept", "same", "not at hand", "sample", V),
        ("kept", "same", "sampled", "sample", M),
        ("kept", "same", "sampled", "full", V),
        ("kept", "same", "failed", "default", V),
        ("kept", "same", "hashed other", "default", C),
        ("kept", "same", "sampled other", "sample", C),
        ("kept", "same", "gone", "default", G),
        ("kept", "relabelled", "hashed", "full", M),
        ("kept", "relabelled", "not asked", "metadata", M),
        ("kept", "bytes", "hashed", "full", C),
        ("kept", "uncommitted", "hashed", "full", C),
        ("kept", "digest", "not asked", "metadata", C),
        ("kept", "claimed", "not asked", "metadata", C),
        ("kept", "claimed", "hashed", "full", M),
        ("kept", "gone", "hashed", "full", G),
        ("kept", "down", "hashed", "full", R),
        ("kept", "down", "hashed other", "full", C),
        ("kept", "another", "hashed", "full", V),
        ("guaranteed", "same", "not asked", "metadata", M),
        ("guaranteed", "same", "not at hand", "default", M),
        ("guaranteed", "same", "hashed", "full", V),
        ("mutable", "same", "not asked", "metadata", V),
        ("mutable", "same", "hashed", "default", M),
        ("mutable", "same", "not at hand", "default", V),
        ("loose", "same", "not asked", "metadata", V),
        ("loose", "same", "hashed", "default", V),
        ("contradictory", "same", "hashed", "full", C),
        ("unread", "same", "hashed", "full", R),
    ],
)
def test_named_case(record: str, kind: str, seen: str, depth: str, expected: Verdict) -> None:
    assert verdict(record, kind, seen, Depth(depth)) is expected


FLOOR_OF_RECORD = {"contradictory": C, "unread": R}
FLOOR_OF_ANSWER = {"bytes": C, "gone": G, "down": R, "odd": V, "another": V, "damaged": C}
FLOOR_OF_BYTES = {"failed": V, "unfetched": R, "gone": G, "damaged": C}
SAME = {"hashed", "hashed blind", "cached", "sampled"}
DIFFERENT = {"hashed other", "hashed other, blind", "cached other", "sampled other"}
PROVES = {
    Depth.METADATA: {"hashed", "hashed blind", "cached"},
    Depth.DEFAULT: {"hashed", "hashed blind", "cached"},
    Depth.FULL: {"hashed", "hashed blind"},
    Depth.SAMPLE: {"hashed", "hashed blind", "sampled"},
}
IMMUTABLE = {"kept", "guaranteed", "contradictory", "unread"}
WITH_DIGEST = {"kept", "mutable", "contradictory", "unread"}


def floors(record: str, kind: str, seen: str, depth: Depth) -> list[Verdict]:
    """An independent formulation of the rules: the best verdict that each piece of evidence allows."""
    found = [FLOOR_OF_RECORD.get(record, M), FLOOR_OF_ANSWER.get(kind, M), FLOOR_OF_BYTES.get(seen, M)]
    if record in WITH_DIGEST:
        whole = seen in ("hashed", "hashed blind", "cached")
        found += [C] if kind == "digest" or (kind == "claimed" and not whole) else []
        found += [C] if seen in DIFFERENT else []
    if record in IMMUTABLE and kind == "uncommitted":
        found += [C]
    return found


ALL = list(product(RECORDS, ANSWERS, BYTES, Depth))


def test_every_combination_has_the_worst_verdict_of_its_evidence_and_none_better_than_its_proof() -> None:
    """The worst verdict decides; without a proof that the depth accepts, MATCH becomes UNVERIFIABLE."""
    wrong = []
    for record, kind, seen, depth in ALL:
        expected = max(floors(record, kind, seen, depth), key=lambda each: each.rank)
        by_bytes = seen in PROVES[depth] and record in WITH_DIGEST
        touched = record in WITH_DIGEST and seen in SAME - {"sampled"}
        by_word = (
            depth in (Depth.METADATA, Depth.DEFAULT)
            and record in IMMUTABLE
            and kind in ("same", "relabelled", "digest", "claimed")
            and not (touched or (record in WITH_DIGEST and seen in DIFFERENT | {"sampled"}))
        )
        if expected is M and not by_bytes and not by_word:
            expected = V
        if verdict(record, kind, seen, depth) is not expected:
            wrong.append((record, kind, seen, depth, verdict(record, kind, seen, depth), expected))
    assert len(ALL) == 6 * 11 * 14 * 4
    assert wrong == []


def test_no_failure_is_ever_a_match() -> None:
    """Down, denied, malformed, unreadable, missing, damaged: never a match, whatever else agrees."""
    for record, kind, seen, depth in ALL:
        if kind in ("gone", "down", "odd", "damaged", "another") or seen in (
            "failed",
            "unfetched",
            "gone",
            "damaged",
        ):
            assert verdict(record, kind, seen, depth) is not Verdict.MATCH


def test_a_full_match_means_that_every_byte_was_hashed_now() -> None:
    for record, kind, seen, _ in ALL:
        of = RECORDS[record]
        report = judge(Evidence(of, answer(kind, of.version), BYTES[seen], depth=Depth.FULL))
        if report.verdict is Verdict.MATCH:
            assert report.proof is Proof.HASHED
            assert seen in ("hashed", "hashed blind")


def test_a_verdict_that_is_no_match_always_has_a_finding_that_says_why() -> None:
    for record, kind, seen, depth in ALL:
        of = RECORDS[record]
        report = judge(Evidence(of, answer(kind, of.version), BYTES[seen], depth=depth))
        if report.verdict is not Verdict.MATCH:
            assert report.verdict in {finding.verdict for finding in report.findings}
            assert report.proof is Proof.NONE
        else:
            assert report.proof is not Proof.NONE


@pytest.mark.parametrize(
    ("alias", "said"),
    [
        (Lookup(version=KEPT), None),
        (Lookup(version=replace(KEPT, ref=parse("local://d@2"))), "local://d@2"),
        (Lookup(verdict=Verdict.MISSING, reason="no such tag"), "no such tag"),
        (Lookup(verdict=Verdict.UNREACHABLE, reason="down"), None),
    ],
)
def test_a_moved_alias_is_told_and_changes_no_verdict(alias: Lookup, said: str | None) -> None:
    record = replace(RECORDS["kept"], requested="local://d@latest")
    for kind, seen in product(ANSWERS, BYTES):
        evidence = Evidence(record, answer(kind, record.version), BYTES[seen], alias)
        report = judge(evidence)
        assert report.verdict is judge(replace(evidence, alias=None)).verdict
        moved = [finding for finding in report.findings if finding.verdict is Verdict.ALIAS_MOVED]
        assert [finding.found for finding in moved] == ([said] if said else [])


def test_an_alias_that_could_not_be_asked_for_is_noted() -> None:
    record = replace(RECORDS["kept"], requested="local://d@latest")
    down = Lookup(verdict=Verdict.UNREACHABLE, reason="down")
    report = judge(Evidence(record, answer("same", KEPT), BYTES["hashed"], down))
    assert any("local://d@latest" in note.what and note.found == "down" for note in report.notes)


def test_changed_labels_are_notes_with_both_values() -> None:
    report = judge(Evidence(RECORDS["kept"], answer("relabelled", KEPT), BYTES["hashed"]))
    told = {note.what: (note.expected, note.found) for note in report.notes}
    assert told["tags changed"] == ("none", "new")
    assert told["message changed"] == ("none", "other")
    assert told["metadata changed"] == ("{}", "{'a': 1}")
    assert told["modified changed"] == ("none", "2026-01-01T00:00:00Z")


def test_a_size_that_became_known_or_unknown_is_a_note() -> None:
    for before, after in ((None, 5), (5, None)):
        record = replace(RECORDS["kept"], version=replace(KEPT, usage_bytes=before))
        now = Lookup(version=replace(KEPT, usage_bytes=after))
        report = judge(Evidence(record, now, BYTES["hashed"]))
        assert report.verdict is Verdict.MATCH
        assert [note.what for note in report.notes] == ["usage bytes"]


def test_a_version_that_was_committed_after_linking_proves_nothing() -> None:
    """What was mutable when it was linked may have changed before it became immutable."""
    record = RECORDS["mutable"]
    now = Lookup(version=replace(MUTABLE, immutable=True), guaranteed=True)
    assert judge(Evidence(record, now, BYTES["not at hand"])).verdict is Verdict.UNVERIFIABLE
    assert judge(Evidence(record, now, BYTES["hashed"])).verdict is Verdict.MATCH


def test_a_grade_below_the_required_one_is_an_unmet_demand_beside_the_verdict() -> None:
    report = judge(Evidence(RECORDS["guaranteed"], answer("same", VOUCHED)), require="A")
    assert report.verdict is Verdict.MATCH
    assert not report
    assert report.unmet == ("grade B, and A is required",)
    assert judge(Evidence(RECORDS["kept"], answer("same", KEPT)), require="A").unmet == ()


def test_the_worst_of_nothing_is_a_match_and_an_alias_never_counts() -> None:
    assert worst([]) is Verdict.MATCH
    assert worst([Verdict.ALIAS_MOVED]) is Verdict.MATCH
    assert worst([Verdict.UNVERIFIABLE, Verdict.CHANGED, Verdict.UNREACHABLE]) is Verdict.CHANGED


def test_a_difference_is_counted_by_kind() -> None:
    assert difference_counts(Difference()) == "no difference"
    assert difference_counts(CHANGE) == "1 file differs: 1 changed"
    more = replace(CHANGE, added=(ONE, TWO), renamed=((ONE, TWO),))
    assert difference_counts(more) == "4 files differ: 1 changed, 2 added, 1 renamed"
