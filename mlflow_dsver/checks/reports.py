"""What `verify` gives back: one report an input, one a run, one for many runs; values without behaviour.

A report is true when everything in it matched and every demand was met. `exit_code` is what the command line ends
with: 0 all well, 1 findings (changed, missing, a demand not met), 3 could not check.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mlflow_dsver.checks.evidence import Depth, Finding, Note, Proof, Verdict
from mlflow_dsver.manifests import Difference
from mlflow_dsver.refs import DatasetRef
from mlflow_dsver.versions import Grade


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
class RunReport:
    """The verdict on a run: the worst of its inputs'; UNVERIFIABLE when it has none.

    name, experiment: as MLflow knows them. depth: how deep it was looked. checked: when, with time zone.
    unmet: demands that the run as a whole fails (no link at all). notes: what the run says of links that failed.
    """

    run_id: str
    name: str
    experiment: str
    inputs: tuple[InputReport, ...]
    depth: Depth
    checked: datetime
    unmet: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The worst of the inputs' verdicts; UNVERIFIABLE without inputs."""
        if not self.inputs:
            return Verdict.UNVERIFIABLE
        return max((each.verdict for each in self.inputs), key=lambda verdict: verdict.rank)

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
    """The verdicts on many runs, checked together: the worst of those that have links.

    Runs without a link count only where links were required; they are listed either way.
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
        """The worst verdict of the runs that have links; UNVERIFIABLE when no run has one."""
        verdicts = [run.verdict for run in self.linked]
        return max(verdicts, key=lambda verdict: verdict.rank) if verdicts else Verdict.UNVERIFIABLE

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0 all well, 1 findings, 3 could not check."""
        codes = {run.exit_code for run in self.runs if run.inputs or run.unmet}
        return 1 if 1 in codes else 3 if 3 in codes or not self.linked else 0
