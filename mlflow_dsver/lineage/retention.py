"""Which dataset versions runs, registered models and lock files need, and the holds that keep them.

Everything that the user may read is searched: all experiments of all workspaces, and all model versions, those whose
run was deleted too. What cannot be read is said, and no hold is taken back then: "nobody needs it" has to be known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_dsver.checks.recorded_inputs import records_of, unreadable_roles
from mlflow_dsver.errors import DsverError, InvalidArgument, NotFound
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Capability, KeepList, Provider
from mlflow_dsver.providers.registry import get_provider, names
from mlflow_dsver.record.facts import Run
from mlflow_dsver.resolution.lock_file import read_lock
from mlflow_dsver.text import error_line, one_line
from mlflow_dsver.tracking.clients import shown_address, workspace_of
from mlflow_dsver.tracking.queries import Origins, Tracking, origins
from mlflow_dsver.tracking.run_search import ALL_WORKSPACES, clients_in

MOST = 100
"""Runs and models that a version is held for at most, of each kind; new holds are put before old ones go."""
NOTE = "note:held by hand"
_MODEL = re.compile(r"models:/(?P<name>[^@]+?)(?:/(?P<version>[0-9]{1,18})|@(?P<alias>.+))\Z")


@dataclass(slots=True)
class Need:
    """A version, who needs it and what keeps it.

    needed: reasons, sorted, at most MOST of each kind; runs, models: how many there are in all. held: the reasons for
    which its provider keeps it now. limit: why its provider cannot hold it; None where it can. problem: why it is not
    known what keeps it, or could not be changed; None for neither.
    """

    ref: DatasetRef
    needed: list[Hold] = field(default_factory=list)
    runs: int = 0
    models: int = 0
    held: tuple[Hold, ...] = ()
    limit: str | None = None
    problem: str | None = None
    version: DatasetVersion | None = field(default=None, repr=False)
    add: tuple[Hold, ...] = ()
    take_back: tuple[Hold, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "version": str(self.ref),
            "runs": self.runs,
            "models": self.models,
            "needed": [each.to_json() for each in self.needed],
            "held": [each.to_json() for each in self.held],
            "hold": [each.to_json() for each in self.add],
            "release": [each.to_json() for each in self.take_back],
            "limit": self.limit,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Keep:
    """What the cleaner of a store without holds is told, so that it keeps the needed versions of a dataset."""

    dataset: DatasetRef
    list: KeepList

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"dataset": str(self.dataset), **self.list._asdict()}


@dataclass(frozen=True, slots=True)
class HoldReport:
    """Versions by reference. unread: what could not be read. applied: whether holds were changed, or only planned.

    keep: for stores without holds; incomplete while something is unread.
    """

    needs: tuple[Need, ...]
    unread: tuple[str, ...]
    applied: bool
    keep: tuple[Keep, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 what can be held is, 1 some hold is missing or not needed any more, 3 not all is known."""
        if self.unread or any(need.problem for need in self.needs):
            return 3
        return 1 if not self.applied and any(need.add or need.take_back for need in self.needs) else 0

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "schema": 1,
            "applied": self.applied,
            "versions": [need.to_json() for need in self.needs],
            "keep": [each.to_json() for each in self.keep],
            "unread": list(self.unread),
        }


def holds(*, locks: Sequence[Path] = (), apply: bool = False, dataset: str | DatasetRef | None = None) -> HoldReport:
    """The versions that are needed, and what keeps them. locks: lock files whose versions are needed as well.

    dataset: a reference, to leave out the versions of all other datasets.
    apply: put the holds that are missing, and take back those of runs, models and the given lock files that do not
    need the version any more; False only says what would be done. Notes are never taken back, nor holds of another
    tracking server. Raises SettingsError where MLflow cannot be used; what cannot be read is in the report.
    """
    wanted = None if dataset is None else parse(dataset).at(None)
    search = _Search()
    search.read_tracking()
    for path in locks:
        search.read_lock(path)
    for provider in _providers_that_hold():
        if wanted is not None and provider.name != wanted.provider:
            continue
        try:
            for version, held in provider.held():
                search.need(version.ref).held = held
        except DsverError as error:
            search.unread.append(f"{provider.name}: {one_line(error, 300)}")
    if wanted is not None:
        search.needs = {ref: need for ref, need in search.needs.items() if ref.at(None) == wanted}
    for need in search.needs.values():
        _look(need)
        search.plan(need)
    needs = tuple(search.needs[ref] for ref in sorted(search.needs))
    if apply:
        for need in needs:
            _apply(need)
    keep = tuple(_keep_lists(needs, search.unread))
    return HoldReport(needs, tuple(search.unread), apply, keep)


def hold(target: str, *, note: str | None = None, apply: bool = True) -> HoldReport:
    """Keep the versions of a run, a registered model or a reference.

    target: a run id, `models:/name/version`, `models:/name@alias`, or a reference. note: why, for a reference. Raises
    RunNotFound, NotFound, InvalidReference and the errors of MLflow and of providers.
    """
    return _changed(target, note, apply=apply, put=True)


def release(target: str, *, note: str | None = None, apply: bool = True) -> HoldReport:
    """Take back what `hold` did for the same target; for a reference without a note, all notes on it."""
    return _changed(target, note, apply=apply, put=False)


def _changed(target: str, note: str | None, *, apply: bool, put: bool) -> HoldReport:
    refs, reason = _meant(target, note)
    needs = []
    for ref in refs:
        need = Need(ref)
        _look(need)
        matching = [each for each in need.held if each == reason]
        if not put and note is None and reason.kind == "note":
            matching = [each for each in need.held if each.kind == "note"]
        need.add = (reason,) if put and not matching else ()
        need.take_back = () if put else tuple(matching)
        if apply:
            _apply(need)
        needs.append(need)
    return HoldReport(tuple(needs), (), apply)


def _meant(target: str, note: str | None) -> tuple[list[DatasetRef], Hold]:
    """The versions that a run, model or reference stands for, and the reason to keep them."""
    model = _MODEL.match(target.strip())
    if model is None and "://" in target:
        found = parse(target)
        if found.selector is None:
            raise InvalidArgument("say which version", reference=found, tip=f"{found}@latest")
        ref = get_provider(found.provider).find(found).ref
        return [ref], Hold(NOTE if note is None else f"note:{note}")
    if note is not None:
        raise InvalidArgument("a note is for a reference", got=one_line(target, 80))
    tracking = Tracking()
    server = shown_address(tracking.address)
    if model is None:
        run = tracking.run(target.strip())
        refs = [each.record.version.ref for each in records_of(run, {}, manifests=False)]
        if not refs:
            raise NotFound("the run has no link to a dataset version", reference=run.run_id)
        return list(dict.fromkeys(refs)), Hold(f"run:{run.run_id}", server)
    name, version = model["name"], model["version"] or tracking.aliased_version(model["name"], model["alias"])
    models = list(tracking.model_versions())
    wanted = [each for each in models if (each.name, each.version) == (name, version)]
    if not wanted:
        raise NotFound(f"there is no version {version} of the model {one_line(name, 80)}", reference=target)
    runs = [tracking.run(each.run_id) for each in wanted if each.run_id]
    made_from = origins(models, {run.run_id: _used(run) for run in runs}).get((name, version or ""), {})
    if not made_from:
        raise NotFound("the model has no link to a dataset version", reference=target)
    return list(dict.fromkeys(made_from.values())), Hold(f"model:{name}/{version}", server)


class _Search:
    """Collects who needs which version. complete: addresses of tracking servers that were read to the end."""

    def __init__(self) -> None:
        self.needs: dict[DatasetRef, Need] = {}
        self.unread: list[str] = []
        self.complete: set[str] = set()
        self.locks: set[str] = set()
        self._reasons: dict[DatasetRef, set[Hold]] = {}

    def need(self, ref: DatasetRef) -> Need:
        """The entry of a version."""
        return self.needs.setdefault(ref, Need(ref))

    def read_tracking(self) -> None:
        """All living runs and all registered models of all workspaces."""
        server = shown_address(Tracking().address)
        try:
            for client in clients_in(ALL_WORKSPACES):
                self._read_workspace(Tracking(workspace=workspace_of(client)), server)
        except DsverError as error:
            self.unread.append(f"the tracking server: {one_line(error, 300)}")
        else:
            if not self.unread:
                self.complete.add(server)

    def _read_workspace(self, tracking: Tracking, server: str) -> None:
        used: dict[str, Origins] = {}
        for run in tracking.linked_runs():
            used[run.run_id] = _used(run)
            self.unread += [f"run {run.run_id}: the version of its {role} input" for role in unreadable_roles(run)]
            for ref in set(used[run.run_id].values()):
                self._add(ref, Hold(f"run:{run.run_id}", server))
        models = list(tracking.model_versions())
        deleted = {model.run_id for model in models if model.run_id} - used.keys()
        used |= {run.run_id: _used(run) for run in tracking.deleted_runs(deleted)}
        for (name, version), made_from in origins(models, used).items():
            for ref in set(made_from.values()):
                self._add(ref, Hold(f"model:{name}/{version}", server))

    def read_lock(self, path: Path) -> None:
        """The versions of a lock file."""
        try:
            entries = read_lock(path)
        except DsverError as error:
            self.unread.append(f"{path}: {one_line(error, 300)}")
            return
        self.locks.add(str(path.absolute()))
        for entry in entries.values():
            self._add(entry.version, Hold(f"lock:{path.absolute()}"))

    def _add(self, ref: DatasetRef, reason: Hold) -> None:
        need, known = self.need(ref), self._reasons.setdefault(ref, set())
        if reason in known:
            return
        need.runs += reason.kind == "run"
        need.models += reason.kind == "model"
        known.add(reason)
        if sum(each.kind == reason.kind for each in need.needed) < MOST:
            need.needed.append(reason)

    def plan(self, need: Need) -> None:
        """Which holds are missing, and which are known not to be needed any more."""
        need.needed.sort()
        reasons = self._reasons.get(need.ref, set())
        if need.version is not None and need.problem is None:
            kept = [each for each in need.held if each in reasons]
            room = {kind: MOST - sum(each.kind == kind for each in kept) for kind in ("run", "model", "lock")}
            missing = []
            for each in need.needed:
                if each not in need.held and room[each.kind] > 0:
                    room[each.kind] -= 1
                    missing.append(each)
            need.add = tuple(missing)
        need.take_back = tuple(each for each in need.held if each not in reasons and self._is_gone(each))

    def _is_gone(self, reason: Hold) -> bool:
        """Whether it is known that nothing needs a version for this reason any more."""
        if reason.kind in ("run", "model"):
            return reason.server in self.complete
        return reason.kind == "lock" and reason.reason.partition(":")[2] in self.locks


def _providers_that_hold() -> Iterator[Provider]:
    """The providers that can hold versions and list their datasets without a network."""
    for name in names():
        try:
            provider = get_provider(name)
        except DsverError:
            continue
        if Capability.HOLD in provider.capabilities:
            yield provider


def _look(need: Need) -> None:
    """Find the version at its provider, and whether that can hold it."""
    try:
        provider = get_provider(need.ref.provider)
        if Capability.HOLD not in provider.capabilities:
            need.limit = f"{provider.name} cannot hold versions"
            return
        need.version = provider.get(need.ref.dataset, need.ref.selector or "")
        need.held = need.held or provider.holds(need.version)
    except NotFound as error:
        need.problem = f"it is not there: {one_line(error.what, 200)}"
    except DsverError as error:
        need.problem = one_line(error, 300)
    except Exception as error:  # noqa: BLE001  (another package's provider)
        need.problem = error_line(error, 300)


def _keep_lists(needs: Sequence[Need], unread: list[str]) -> Iterator[Keep]:
    """What the cleaners of stores without holds are told; what cannot be found out is added to `unread`."""
    ids: dict[DatasetRef, list[str]] = {}
    for need in needs:
        if need.limit is not None and need.needed:
            ids.setdefault(need.ref.at(None), []).append(need.ref.selector or "")
    for dataset, versions in ids.items():
        try:
            found = get_provider(dataset.provider).keep_list(dataset.dataset, versions)
        except DsverError as error:
            unread.append(f"what keeps {dataset}: {one_line(error, 300)}")
            continue
        if found is not None:
            yield Keep(dataset, found)


def _apply(need: Need) -> None:
    """Put and take back what was planned; the new holds first."""
    if need.version is None or not (need.add or need.take_back):
        return
    try:
        provider = get_provider(need.ref.provider)
        if need.add:
            provider.hold(need.version, need.add)
        if need.take_back:
            provider.release(need.version, need.take_back)
        need.held = provider.holds(need.version)
    except DsverError as error:
        need.problem = one_line(error, 600)


def _used(run: Run) -> Mapping[str, DatasetRef]:
    return {each.record.role: each.record.version.ref for each in records_of(run, {}, manifests=False)}


def hold_lines(report: HoldReport, limit: int = 3) -> Iterable[str]:
    """The report as lines of text. limit: reasons shown of each kind of change."""
    for need in report.needs:
        yield f"{one_line(need.ref, 400)}"
        needed = [f"{need.runs:,} run{'s' * (need.runs != 1)}"] if need.runs else []
        needed += [f"{need.models:,} model{'s' * (need.models != 1)}"] if need.models else []
        others = [str(each) for each in need.needed if each.kind in ("lock", "note")]
        if needed or others:
            yield f"  needed by  {one_line(', '.join([*needed, *others]), 600)}"
        yield f"  held for   {_some(need.held, limit) if need.held else 'nothing'}"
        done = report.applied and need.problem is None
        if need.add:
            yield f"  {'held now' if done else 'to hold'}   {_some(need.add, limit)}"
        if need.take_back:
            yield f"  {'released' if done else 'to release'} {_some(need.take_back, limit)}"
        if need.limit:
            yield f"  limit      {one_line(need.limit, 600)}"
        if need.problem:
            yield f"  problem    {one_line(need.problem, 600)}"
    for each in report.keep:
        yield f"to keep {one_line(each.dataset, 400)} when files are cleaned up: {one_line(each.list.command, 2000)}"
        if each.list.missing:
            yield f"  gone already: {one_line(', '.join(each.list.missing), 600)}"
    for text in report.unread:
        yield f"not read: {one_line(text, 600)}"
    if not report.needs:
        yield "no version is needed or held"
    elif not report.applied and any(need.add or need.take_back for need in report.needs):
        yield "nothing was changed; --apply does it"


def _some(reasons: Sequence[Hold], limit: int) -> str:
    shown = ", ".join(one_line(each, 120) for each in reasons[:limit])
    return shown + (f" and {len(reasons) - limit:,} more" if len(reasons) > limit else "")
