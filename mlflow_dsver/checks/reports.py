"""What `verify` gives back: one report an input, one a run, one for many runs; values without behaviour.

A report is true when everything in it matched and every demand was met. `exit_code` is what the command line ends
with: 0 all well, 1 findings (changed, missing, a demand not met), 3 could not check.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from mlflow_dsver.checks.evidence import Depth, Finding, Note, Proof, Verdict
from mlflow_dsver.model.manifests import Difference
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import Grade


@dataclass(frozen=True, slots=True)
class InputReport:
    """The verdict on one input of a run, with its evidence.

    version: canonical reference of what was recorded. requested: as it was asked for; None when not recorded.
    grade: as recorded; None when unknown. proof: what a MATCH rests on. unmet: demands that this input fails.
    files_read, bytes_read: how much was looked at. difference: from the record to what was found; None for none.
    statement: what a sample proves; None without one.
    """

    role: str
    requested: str | None
    version: DatasetRef
    grade: Grade | None
    verdict: Verdict
    proof: Proof
    findings: tuple[Finding, ...] = ()
    notes: tuple[Note, ...] = ()
    unmet: tuple[str, ...] = ()
    files_read: int = 0
    bytes_read: int = 0
    difference: Difference | None = None
    statement: str | None = None

    def __bool__(self) -> bool:
        return self.verdict is Verdict.MATCH and not self.unmet


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """The verdict on a signed statement about a run: is the signature good, and does the run still say the same?

    file, key: the statement and the public key, as they were named. findings: why it is no MATCH; empty for one.
    CHANGED: a bad signature, or a run that says otherwise. UNVERIFIABLE, UNREACHABLE: it could not be checked.
    """

    file: str
    key: str
    findings: tuple[Finding, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings; MATCH for none."""
        return max((each.verdict for each in self.findings), key=lambda each: each.rank, default=Verdict.MATCH)

    def __bool__(self) -> bool:
        return self.verdict is Verdict.MATCH

    @property
    def exit_code(self) -> int:
        """0 good, 1 not good, 3 could not check."""
        return 0 if self else 1 if self.verdict.is_finding else 3


@dataclass(frozen=True, slots=True)
class RunReport:
    """The verdict on a run: the worst of its inputs' and its signature's; UNVERIFIABLE when it has no input.

    name, experiment: as MLflow knows them. depth: how deep it was looked. checked: when, with time zone.
    unmet: demands that the run as a whole fails (no link at all). notes: what the run says of links that failed.
    signature: on a signed statement about the run; None when none was given.
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
        """0 all well, 1 findings, 3 could not check."""
        if self.verdict.is_finding or self.unmet or any(each.unmet for each in self.inputs):
            return 1
        return 0 if self.verdict is Verdict.MATCH else 3


@dataclass(frozen=True, slots=True)
class Report:
    """The verdicts on many runs, checked together: the worst of those that have links or a signature.

    Other runs without a link count only where links were required; they are listed either way.
    checked: when, with time zone. resolutions: how many times a provider was asked for a version.
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
        """The worst verdict of the runs that have links or a signature; UNVERIFIABLE when there is none."""
        verdicts = [run.verdict for run in self.runs if run.inputs or run.signature is not None]
        return max(verdicts, key=lambda verdict: verdict.rank) if verdicts else Verdict.UNVERIFIABLE

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all well, 1 findings, 3 could not check."""
        codes = {run.exit_code for run in self.runs if run.inputs or run.unmet or run.signature is not None}
        return 1 if 1 in codes else 3 if 3 in codes or not self.linked else 0


def with_signature(report: Report, signature: SignatureReport) -> Report:
    """The report on one run, with its signature's."""
    (run,) = report.runs
    return replace(report, runs=(replace(run, signature=signature),))
