"""A run's data as values: the rows from which every graph, page and export is made.

Nothing here makes a request to MLflow or a provider. All texts are as recorded and untrusted; renderers
must escape them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from mlflow_dsver.errors import InvalidReference
from mlflow_dsver.model.refs import DatasetRef, parse


@dataclass(frozen=True, slots=True)
class Use:
    """One role of one run: which version it used, what was asked for, and how much that proves.

    grade: as recorded, `A` to `D` with notes; empty when it was not recorded.
    usage_bytes: in bytes, as the provider stated it; None when it did not.
    content_digest: `blake3:<hex>`; None when the bytes were not known.
    created: when the version was made; None when that was not recorded.
    dataset_name: the dataset's name for people, where its reference has an id; None elsewhere.
    """

    role: str
    version: DatasetRef
    requested: str = ""
    grade: str = ""
    tags: tuple[str, ...] = ()
    usage_bytes: int | None = None
    content_digest: str | None = None
    created: datetime | None = None
    web_url: str | None = None
    dataset_name: str | None = None

    @property
    def dataset(self) -> DatasetRef:
        """The version's dataset, without a selector."""
        return self.version.at(None)


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a run made: a registered one with its version, or a logged one with its id.

    name: registered name, or the logged model's name. version: None for a logged model that is not registered.
    workspace: only where models of several workspaces are together, in which names are not unique.
    """

    name: str
    version: str | None = None
    model_id: str | None = None
    workspace: str | None = None

    @property
    def key(self) -> str:
        """MLflow's own address: `models:/name/3` or `models:/m-…`; the first with ` in WORKSPACE` if it has one."""
        if self.version is not None:
            return f"models:/{self.name}/{self.version}" + (f" in {self.workspace}" if self.workspace else "")
        return f"models:/{self.model_id or self.name}"


@dataclass(frozen=True, slots=True)
class InputFacts:
    """A dataset input that is a dataset version, as MLflow has it.

    role: its context. source, profile: their JSON objects, which are those of the first run of the experiment that
    used the version; {} where they are none.
    """

    role: str
    name: str
    digest: str
    source: Mapping[str, Any]
    profile: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EvaluationDataset:
    """An evaluation dataset of `mlflow.genai` that is an input of a run: MLflow's own, and no dataset version.

    MLflow keeps its records, which can change under the same id, and no former state of them. context: as logged,
    empty without one. digest: as it was when the run logged it. dataset_id: empty where the input does not say it.
    """

    name: str
    digest: str
    dataset_id: str = ""
    context: str = ""

    def __str__(self) -> str:
        return ", ".join(each for each in (self.name, self.dataset_id, f"digest {self.digest}") if each)


@dataclass(frozen=True, slots=True)
class Run:
    """A run as MLflow has it, the versions that it used, and the models that it made; see `reader.run_of`.

    experiment: its name. started, ended: with time zone; None when MLflow does not say. metrics: last values.
    sources: role to the source JSON of each input that is a dataset version; see `reader.sources_of` for the roles.
    inputs: those inputs as they are, several of a role where MLflow has several. verdict: the outcome of the last
    check that was recorded; None when there was none. checked: when that was. models: only where they were asked for.
    workspace: the one that it is in, as far as it was asked by name; None elsewhere.
    """

    run_id: str
    name: str = ""
    experiment_id: str = ""
    experiment: str = ""
    status: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    artifact_uri: str = ""
    params: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    tags: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    metrics: Mapping[str, float] = field(default_factory=dict, repr=False, hash=False)
    sources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False, hash=False)
    inputs: tuple[InputFacts, ...] = field(default=(), repr=False, hash=False)
    user: str = ""
    git_commit: str | None = None
    verdict: str | None = None
    checked: datetime | None = None
    uses: tuple[Use, ...] = ()
    models: tuple[Model, ...] = field(default=())
    workspace: str | None = None
    evaluation_datasets: tuple[EvaluationDataset, ...] = ()

    @property
    def place(self) -> str:
        """The experiment, after the run's workspace where it has one: `team-a / digits`."""
        experiment = self.experiment or self.experiment_id
        return experiment if self.workspace is None else f"{self.workspace} / {experiment}"


@dataclass(frozen=True, slots=True)
class ModelOrigin:
    """A registered model whose run is not there, and what it was made from, as (role, version) in order.

    By its tags, by those of the model that it is a copy of, or by its deleted run.
    """

    model: Model
    made_from: tuple[tuple[str, DatasetRef], ...]


def version_of(text: str) -> DatasetRef | None:
    """A recorded reference of a version; None for text that is none, since a tag may say anything."""
    try:
        ref = parse(text)
    except InvalidReference:
        return None
    return ref if ref.selector is not None else None


@dataclass(frozen=True, slots=True)
class Filter:
    """What to show; None or empty means everything.

    experiment: an experiment's id. grade: a letter. verdict: the word that a check recorded, `none` for runs that
    no check looked at. since, until: of the run's start, until exclusive.
    """

    experiment: str | None = None
    role: str | None = None
    grade: str | None = None
    verdict: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def __bool__(self) -> bool:
        return self != EVERYTHING

    def apply(self, runs: Iterable[Run], keep: Callable[[Use], bool] = lambda use: True) -> Iterator[Run]:
        """The runs that match, each with only those uses that match; a run without any is left out."""
        for run in runs:
            if self._matches(run):
                uses = tuple(use for use in run.uses if self._matches_use(use) and keep(use))
                if uses:
                    yield run if len(uses) == len(run.uses) else replace(run, uses=uses)

    def _matches(self, run: Run) -> bool:
        if self.experiment and run.experiment_id != self.experiment:
            return False
        if self.verdict and (run.verdict or "none") != self.verdict:
            return False
        if self.since and (run.started is None or run.started < self.since):
            return False
        return not (self.until and (run.started is None or run.started >= self.until))

    def _matches_use(self, use: Use) -> bool:
        return (not self.role or use.role == self.role) and (not self.grade or use.grade[:1] == self.grade)


EVERYTHING = Filter()
