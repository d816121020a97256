"""What a check has seen, before anybody judges it: the record on the run, the provider's answer, the bytes.

All are frozen values without behaviour towards the world. `judge` in `verdicts` turns them into a verdict; how they
are gathered is the business of `record`, `asking` and `reading`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mlflow_dsver.model.manifests import Difference
from mlflow_dsver.model.versions import DatasetVersion, Grade


class Verdict(StrEnum):
    """What a check says of an input; a later one is worse, and the worst counts for the run.

    ALIAS_MOVED is for information: what was asked for means something else by now. It never decides a verdict.
    """

    MATCH = "MATCH"
    """The data can be had and is what was recorded, as far as `Proof` says."""
    ALIAS_MOVED = "ALIAS_MOVED"
    UNVERIFIABLE = "UNVERIFIABLE"
    """Everybody answered, and yet nothing proves or disproves that the data is the same."""
    UNREACHABLE = "UNREACHABLE"
    """Somebody who knows did not answer, or not to this key."""
    CHANGED = "CHANGED"
    """The data, what the provider vouches for, or the record itself is not what it was."""
    MISSING = "MISSING"
    """The data cannot be had any more."""

    @property
    def rank(self) -> int:
        """0 for the best; ALIAS_MOVED counts as MATCH."""
        return _RANKS[self]

    @property
    def is_finding(self) -> bool:
        """Whether something is known to be wrong, in contrast to unknown."""
        return self in (Verdict.CHANGED, Verdict.MISSING)


_RANKS = {
    Verdict.MATCH: 0,
    Verdict.ALIAS_MOVED: 0,
    Verdict.UNVERIFIABLE: 1,
    Verdict.UNREACHABLE: 2,
    Verdict.CHANGED: 3,
    Verdict.MISSING: 4,
}


class Depth(StrEnum):
    """How deep a check looks."""

    METADATA = "metadata"
    """The provider is asked; no byte is read."""
    DEFAULT = "default"
    """Bytes at hand are compared as well; the stat cache may stand in for files that did not change."""
    FULL = "full"
    """Every byte is fetched and hashed now; no cache stands in, and without the bytes there is no match."""
    SAMPLE = "sample"
    """Some files, drawn at random, are fetched and hashed now; the report states what that proves."""


class Proof(StrEnum):
    """What a MATCH rests on, best first."""

    HASHED = "every file hashed now"
    CACHED = "unchanged since it was hashed (stat cache)"
    SAMPLED = "a random sample hashed now"
    PROVIDER = "the provider's word; no byte was read"
    NONE = "nothing"


class Subject(StrEnum):
    """What a finding is about."""

    RECORD = "record"
    PROVIDER = "provider"
    BYTES = "bytes"
    ALIAS = "alias"
    GRADE = "grade"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was seen: what was expected, what was found, which files.

    expected, found: as text for people; None where there is nothing to say. paths: relative to the dataset, sorted.
    """

    verdict: Verdict
    subject: Subject
    what: str
    expected: str | None = None
    found: str | None = None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """Something that differs without touching the verdict: labels that may be edited, and what could not be read.

    expected and found are None for a plain remark.
    """

    what: str
    expected: str | None = None
    found: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What the run says that it used in a role, put together from all the places where it says so.

    version: as recorded; only reference, digest, size and tags when the link's artifact is gone.
    requested: as it was asked for; None when that is not recorded. grade: the lowest that is recorded; None for none.
    vouched: the provider promised then that the bytes cannot change (grade B or better, on record and in its word).
    host: the machine that made the link; None when that is not recorded.
    findings: contradictions inside the record, and parts of it that could not be read.
    """

    role: str
    requested: str | None
    version: DatasetVersion
    grade: Grade | None
    vouched: bool = False
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the provider said when it was asked for a version: the version, or the failure that came instead.

    verdict: what the failure means (MISSING, UNREACHABLE, …); None exactly when there is a version.
    vouched: the provider promises that the version's bytes cannot change. grade: what it vouches for now; None when
    that is not known. elsewhere: true when who answered is not the one that has it, as a store of another machine.
    """

    version: DatasetVersion | None = None
    verdict: Verdict | None = None
    reason: str | None = None
    vouched: bool = False
    grade: Grade | None = None
    elsewhere: bool = False

    def __post_init__(self) -> None:
        if (self.version is None) == (self.verdict is None):
            raise ValueError("an answer is either a version or a failure")


class ReadStatus(StrEnum):
    """What became of the bytes."""

    NOT_ASKED = "not asked for"
    NOT_AT_HAND = "not at hand"
    FAILED = "could not be read"
    UNREACHABLE = "could not be fetched"
    GONE = "gone"
    DAMAGED = "damaged"
    READ = "read"


@dataclass(frozen=True, slots=True)
class ByteEvidence:
    """What reading the bytes gave.

    reason: why they were not read; None when they were. proof: how they were read (HASHED, CACHED or SAMPLED).
    digest: content digest of all that was found; None after a sample. files, bytes: how much was looked at.
    difference: from the recorded manifest to what was found; None where no manifest was there to compare with.
    paths: files that are damaged or unreadable. statement: what a sample proves.
    """

    seen: ReadStatus
    reason: str | None = None
    proof: Proof = Proof.NONE
    digest: str | None = None
    files: int = 0
    bytes: int = 0
    difference: Difference | None = None
    paths: tuple[str, ...] = ()
    statement: str | None = None


NOT_ASKED = ByteEvidence(ReadStatus.NOT_ASKED)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was gathered on one input; `alias` is None when what was asked for was not asked again."""

    record: Record
    answer: Lookup
    bytes: ByteEvidence = NOT_ASKED
    alias: Lookup | None = None
    depth: Depth = Depth.DEFAULT
    notes: tuple[Note, ...] = field(default=())
