"""The values that `verify` gathers and returns: verdicts, findings, evidence, and the reports on inputs and runs.

All are frozen values without I/O. Evidence comes from the run's record (`recorded_inputs`), the provider
(`provider_cache`) and the files (`byte_checks`); `verdicts.judge` turns it into the report on one input.

A report is true when everything in it matched and every requirement was met. `exit_code` is the exit code of the
command line: 0 all matched, 1 findings (changed, missing, a requirement not met), 3 could not check.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from mlflow_dsver.model.differences import Difference
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade


class Verdict(StrEnum):
    """The result of checking an input, best first; a run has the worst verdict of its inputs.

    ALIAS_MOVED is informational: the requested reference now resolves to another version. It never decides a verdict.
    """

    MATCH = "MATCH"
    """The data is available and is what was recorded, to the extent that `Proof` states."""
    ALIAS_MOVED = "ALIAS_MOVED"
    UNVERIFIABLE = "UNVERIFIABLE"
    """Nothing failed to respond, but nothing proves or disproves that the data is the same."""
    UNREACHABLE = "UNREACHABLE"
    """The provider or a file server did not respond, or denied access to this API key."""
    CHANGED = "CHANGED"
    """The data, the provider's description of it, or the record itself differs from what was recorded."""
    MISSING = "MISSING"
    """The data is no longer available."""

    @property
    def rank(self) -> int:
        """0 for the best; ALIAS_MOVED counts as MATCH."""
        return _RANKS[self]

    @property
    def is_finding(self) -> bool:
        """Whether something is known to be wrong, as opposed to unknown."""
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
    """How thoroughly a check reads the data."""

    METADATA = "metadata"
    """Only the provider's metadata is compared; no file is read."""
    DEFAULT = "default"
    """Local files are compared as well; the stat cache is used for files that did not change."""
    FULL = "full"
    """All files are downloaded if needed and hashed now, without any cache; without the files there is no match."""
    SAMPLE = "sample"
    """A random sample of files is hashed now; the report states what that proves."""


class Proof(StrEnum):
    """The evidence for a MATCH, strongest first."""

    HASHED = "every file hashed now"
    CACHED = "unchanged since it was hashed (stat cache)"
    SAMPLED = "a random sample hashed now"
    STORE = "compared with what the store has now; no byte was read"
    PROVIDER = "the provider's word; no byte was read"
    NONE = "nothing"


class Subject(StrEnum):
    """The part of an input that a finding concerns."""

    RECORD = "record"
    PROVIDER = "provider"
    BYTES = "bytes"
    ALIAS = "alias"
    GRADE = "grade"
    SIGNATURE = "signature"


@dataclass(frozen=True, slots=True)
class Finding:
    """One deviation: what was expected, what was found, which files.

    expected, found: human-readable text; None if there is none. paths: relative to the dataset, sorted.
    """

    verdict: Verdict
    subject: Subject
    what: str
    expected: str | None = None
    found: str | None = None
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Note:
    """A difference that does not affect the verdict: editable labels, and what could not be read.

    expected and found are None for a plain remark.
    """

    what: str
    expected: str | None = None
    found: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a run recorded for one role, merged from params, tags, dataset inputs and the link's artifact.

    version: as recorded; only reference, digest, size and tags when the link's artifact is missing.
    requested: the requested reference; None if not recorded. grade: the lowest recorded grade; None if there is none.
    guaranteed: the provider guaranteed at link time that the version is immutable: grade B or better, in the record
    and by the provider's grading of the recorded version.
    host: the machine that made the link; None if not recorded.
    findings: contradictions within the record, and parts of it that could not be read.
    """

    role: str
    requested: str | None
    version: DatasetVersion
    grade: Grade | None
    guaranteed: bool = False
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()
    host: str | None = None


@dataclass(frozen=True, slots=True)
class Lookup:
    """The result of looking a version up at its provider: the version, or the failure.

    verdict: the meaning of the failure (MISSING, UNREACHABLE, …); None exactly when there is a version.
    guaranteed: the provider guarantees that the version is immutable. grade: the grade that it gives now; None if
    unknown. elsewhere: the version belongs to another store than the one asked, such as that of another machine.
    """

    version: DatasetVersion | None = None
    verdict: Verdict | None = None
    reason: str | None = None
    guaranteed: bool = False
    grade: Grade | None = None
    elsewhere: bool = False

    def __post_init__(self) -> None:
        if (self.version is None) == (self.verdict is None):
            raise ValueError("a lookup has either a version or a failure")


class ReadStatus(StrEnum):
    """The result of reading a version's files."""

    NOT_REQUESTED = "not requested"
    NOT_LOCAL = "not on this machine"
    FAILED = "could not be read"
    UNREACHABLE = "could not be fetched"
    GONE = "gone"
    DAMAGED = "damaged"
    READ = "read"


@dataclass(frozen=True, slots=True)
class ByteEvidence:
    """The evidence from reading a version's files.

    reason: why they were not read; None if they were. proof: how they were read (HASHED, CACHED or SAMPLED).
    digest: content digest of all files found; None after a sample. files, bytes: how much was checked.
    difference: from the recorded manifest to the files found; None without a manifest to compare with.
    paths: files that are damaged or unreadable. statement: what a sample, or a comparison at the store, proves.
    """

    status: ReadStatus
    reason: str | None = None
    proof: Proof = Proof.NONE
    digest: str | None = None
    files: int = 0
    bytes: int = 0
    difference: Difference | None = None
    paths: tuple[str, ...] = ()
    statement: str | None = None


NOT_REQUESTED = ByteEvidence(ReadStatus.NOT_REQUESTED)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All evidence on one input. alias: the requested reference resolved again; None if that was not done."""

    record: Record
    lookup: Lookup
    bytes: ByteEvidence = NOT_REQUESTED
    alias: Lookup | None = None
    depth: Depth = Depth.DEFAULT
    notes: tuple[Note, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class InputReport:
    """The verdict on one input of a run, with its evidence.

    version: canonical reference of the recorded version. requested: the requested reference; None if not recorded.
    grade: the recorded grade, or the provider's present one if that is worse; None if unknown. proof: the evidence
    for a MATCH. unmet: requirements that this input fails. files_read, bytes_read: how much was checked.
    difference: from the record to the files found; None if there is none. statement: what a sample or a comparison at
    the store, proves; None without one.
    """

    role: str
    requested: str | None
    version: DatasetRef
    grade: Grade | None
    verdict: Verdict
    proof: Proof
    files_read: int = field(default=0, kw_only=True)
    bytes_read: int = field(default=0, kw_only=True)
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()
    unmet: tuple[str, ...] = ()
    difference: Difference | None = None
    statement: str | None = None

    def __bool__(self) -> bool:
        return self.verdict is Verdict.MATCH and not self.unmet


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """The verdict on a signed statement about a run: is the signature valid, and does the run still agree with it?

    file, key: the statement and the public key, as the caller named them. findings: empty for a MATCH.
    CHANGED: an invalid signature, or a run that disagrees. UNVERIFIABLE, UNREACHABLE: it could not be checked.
    """

    file: str
    key: str
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the findings; MATCH if there are none."""
        return max((each.verdict for each in self.findings), key=lambda each: each.rank, default=Verdict.MATCH)

    def __bool__(self) -> bool:
        return self.verdict is Verdict.MATCH

    @property
    def exit_code(self) -> int:
        """0 valid, 1 invalid, 3 could not check."""
        return 0 if self else 1 if self.verdict.is_finding else 3


@dataclass(frozen=True, slots=True)
class RunReport:
    """The verdict on a run: the worst of its inputs' and its signature's; UNVERIFIABLE if it has no inputs.

    name, experiment: MLflow's names. depth: the depth of the check. checked: time of the check, with time zone.
    unmet: requirements that the run as a whole fails (no link at all). notes: errors that the run records of links
    that failed. signature: report on a signed statement about the run; None if none was passed.
    """

    run_id: str
    name: str
    experiment: str
    inputs: tuple[InputReport, ...]
    depth: Depth
    checked: datetime
    unmet: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    signature: SignatureReport | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the inputs' verdicts, or UNVERIFIABLE without inputs, and of the signature's."""
        verdicts = [each.verdict for each in self.inputs] or [Verdict.UNVERIFIABLE]
        if self.signature is not None:
            verdicts.append(self.signature.verdict)
        return max(verdicts, key=lambda verdict: verdict.rank)

    def __bool__(self) -> bool:
        return self.verdict is Verdict.MATCH and not self.unmet and all(self.inputs)

    @property
    def exit_code(self) -> int:
        """0 all matched, 1 findings, 3 could not check."""
        if self.verdict.is_finding or self.unmet or any(each.unmet for each in self.inputs):
            return 1
        return 0 if self.verdict is Verdict.MATCH else 3


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts on many runs, checked together. The verdict is the worst of the runs with links or a signature.

    Runs without a link count only if links are required; they are listed in any case.
    checked: time of the check, with time zone. resolutions: number of versions requested from providers.
    """

    runs: tuple[RunReport, ...]
    depth: Depth
    checked: datetime
    resolutions: int = 0

    @property
    def linked(self) -> tuple[RunReport, ...]:
        """The runs that have at least one link."""
        return tuple(run for run in self.runs if run.inputs)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the runs that have links or a signature; UNVERIFIABLE if there are none."""
        verdicts = [run.verdict for run in self.runs if run.inputs or run.signature is not None]
        return max(verdicts, key=lambda verdict: verdict.rank) if verdicts else Verdict.UNVERIFIABLE

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all matched, 1 findings, 3 could not check."""
        codes = {run.exit_code for run in self.runs if run.inputs or run.unmet or run.signature is not None}
        return 1 if 1 in codes else 3 if 3 in codes or not self.linked else 0


def with_signature(report: Report, signature: SignatureReport) -> Report:
    """A copy of the report on one run, with the report on its signature."""
    (run,) = report.runs
    return replace(report, runs=(replace(run, signature=signature),))
