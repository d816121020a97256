"""A lock file beside the providers: is what it says still so, and what would it say when it is brought up to date?

Providers are asked each time, never a cache. A check returns a report and writes nothing; a plan is the next content
of the file, or LockConflict where an entry would move that may not. Whoever asked for it writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from mlflow_dsver.errors import DsverError, InvalidReference, LockConflict, NotFound, SettingsError
from mlflow_dsver.model.manifests import Difference, Manifest, difference
from mlflow_dsver.model.refs import DatasetRef, parse_recorded
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import lock_file
from mlflow_dsver.resolution.lock_file import Locked
from mlflow_dsver.text import human_count


class State(StrEnum):
    """What is known of a locked input."""

    SAME = "same"
    """Its words still mean the locked version, and no content digest speaks against it."""
    MOVED = "moved"
    """Its words mean another version by now, or nothing."""
    GONE = "gone"
    """The locked version does not exist any more."""
    CHANGED = "changed"
    """The locked version has another content digest, or its id is not that of the locked one."""
    AMBIGUOUS = "ambiguous"
    """Another entry says something else of the same words or the same version."""
    UNKNOWN = "unknown"
    """The provider could not be asked."""
    NOT_ASKED = "not asked"
    """Nobody wanted to ask."""


FINDINGS = frozenset({State.MOVED, State.GONE, State.CHANGED, State.AMBIGUOUS})


@dataclass(frozen=True, slots=True)
class Checked:
    """A locked input and what is known of it. found: what its words mean now; None when that is not known."""

    entry: Locked
    state: State
    detail: str
    found: DatasetVersion | None = None


@dataclass(frozen=True, slots=True)
class LockReport:
    """A lock file compared with the providers. broken: why there is nothing to compare; None for a good file.

    unread: the file could not be read, so that nobody knows whether it is good.
    """

    path: Path
    inputs: tuple[Checked, ...] = ()
    broken: str | None = None
    unread: bool = False

    @property
    def exit_code(self) -> int:
        """0 all well, 1 findings, 3 something could not be asked."""
        if (self.broken and not self.unread) or any(each.state in FINDINGS for each in self.inputs):
            return 1
        return 3 if self.unread or any(each.state is State.UNKNOWN for each in self.inputs) else 0

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "schema": 1,
            "file": str(self.path),
            "ok": self.exit_code == 0,
            "problem": self.broken,
            "inputs": [
                entry_json(each.entry)
                | {
                    "state": str(each.state),
                    "detail": each.detail,
                    "found": str(each.found) if each.found else None,
                    "content_compared": bool(each.found and lock_file.compared(each.entry, each.found)),
                }
                for each in self.inputs
            ],
        }


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one role; before is None for a new one, after for one that is removed.

    difference: of the files, where both manifests are at hand; else why_unknown says why not (None: nothing to tell).
    """

    role: str
    before: Locked | None
    after: Locked | None
    difference: Difference | None = None
    why_unknown: str | None = None

    @property
    def kind(self) -> str:
        """`added`, `removed`, `moved` (another version or content), else `changed` (other words, a digest)."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        return "moved" if _moves(self.before, self.after) else "changed"

    def to_json(self) -> dict[str, Any]:
        """The change for programs; of the difference the counts."""
        found = self.difference
        kinds = ("added", "removed", "changed", "renamed")
        return {
            "role": self.role,
            "kind": self.kind,
            "before": entry_json(self.before) if self.before else None,
            "after": entry_json(self.after) if self.after else None,
            "difference": found
            and {kind: len(getattr(found, kind)) for kind in kinds}
            | {"unchanged": found.unchanged, "growth": found.growth},
            "difference_unknown": self.why_unknown,
        }


def entry_json(entry: Locked) -> dict[str, Any]:
    """A locked input for programs."""
    return {
        "role": entry.role,
        "requested": entry.requested,
        "version": str(entry.version),
        "content_digest": entry.content_digest,
    }


def check_lock(path: Path, *, ask: bool = True) -> LockReport:
    """Compare a lock file with what its providers say now. ask: False looks only at the file itself."""
    try:
        entries = lock_file.read_lock(path)
    except SettingsError as error:
        return LockReport(path, broken=str(error), unread=isinstance(error.__cause__, OSError))
    twisted = dict(lock_file.ambiguities(entries))
    question = asking() if ask else None
    return LockReport(path, tuple(_checked(entry, question, twisted.get(role)) for role, entry in entries.items()))


def asking() -> Callable[[DatasetRef], DatasetVersion]:
    """What references mean now, each asked for once, whether its provider answered or failed."""
    answers: dict[DatasetRef, DatasetVersion | DsverError] = {}

    def ask(ref: DatasetRef) -> DatasetVersion:
        if ref not in answers:
            try:
                answers[ref] = get_provider(ref.provider).resolve(ref)
            except DsverError as error:
                answers[ref] = error
        answer = answers[ref]
        if isinstance(answer, DsverError):
            raise answer
        return answer

    return ask


def plan(
    path: Path,
    entries: Mapping[str, Locked],
    inputs: Mapping[str, str],
    answers: Mapping[str, DatasetVersion],
    may_move: Collection[str] = (),
) -> dict[str, Locked]:
    """What the lock file is to say: its entries, and what the inputs (role to words) mean by the answers.

    Raises LockConflict when that moves an entry whose role is not among those that may move. path: for the error.
    """
    after = dict(entries)
    refused = {}
    for role, words in inputs.items():
        entry, now = entries.get(role), answers[role]
        made = lock_file.locked(role, words, now)
        if entry is not None and made.version == entry.version and made.content_digest is None:
            made = replace(made, content_digest=entry.content_digest)  # known once, and nothing speaks against it
        if entry is not None and role not in may_move and (why := lock_file.deviation(entry, now, words)):
            refused[role] = why
        after[role] = made
    if refused:
        told = human_count(len(refused), "input would move", "inputs would move")
        reworded = {role: inputs[role] for role in refused if not lock_file.same_words(entries[role], inputs[role])}
        raise LockConflict(
            f"{told}: " + "; ".join(f"{role}: {why}" for role, why in sorted(refused.items())),
            reference=path,
            roles=tuple(sorted(refused)),
            done="Nothing was written",
            tip=lock_file.command(path, reworded, sorted(refused.keys() - reworded.keys()), update=True),
        )
    return after


def changes(before: Mapping[str, Locked], after: Mapping[str, Locked]) -> list[Change]:
    """What differs between two contents of a lock file, by role, with the files that differ where that is known."""
    found = []
    for role in sorted(before.keys() | after.keys()):
        old, new = before.get(role), after.get(role)
        if old == new:
            continue
        if old is None or new is None or not _moves(old, new):
            found.append(Change(role, old, new))
            continue
        try:
            found.append(Change(role, old, new, difference(_manifest(old), _manifest(new))))
        except DsverError as error:
            found.append(Change(role, old, new, why_unknown=error.what))
    return found


def _moves(old: Locked, new: Locked) -> bool:
    digests = (old.content_digest, new.content_digest)
    return old.version != new.version or (None not in digests and digests[0] != digests[1])


def _checked(entry: Locked, ask: Callable[[DatasetRef], DatasetVersion] | None, twisted: str | None) -> Checked:
    """What is known of an entry; an ambiguity is told where nothing that was asked decides it."""
    found = Checked(entry, State.NOT_ASKED, f"locked is {entry.version}") if ask is None else _asked(entry, ask)
    if found.state not in FINDINGS and not _fits(entry):
        return replace(found, state=State.CHANGED, detail=f"{entry.version} cannot have {entry.content_digest}")
    if twisted and found.state not in FINDINGS and not (found.found and lock_file.compared(entry, found.found)):
        return replace(found, state=State.AMBIGUOUS, detail=twisted)
    return found


def _fits(entry: Locked) -> bool:
    """Whether the locked id may have the locked content digest, as far as the id alone tells."""
    if entry.content_digest is None:
        return True
    try:
        return get_provider(entry.version.provider).id_allows(entry.version, entry.content_digest)
    except DsverError:
        return True  # a provider that is not installed here, or not set up: nobody can tell


def _asked(entry: Locked, ask: Callable[[DatasetRef], DatasetVersion]) -> Checked:
    try:
        now = ask(parse_recorded(entry.requested))
    except (NotFound, InvalidReference) as error:
        if _is_gone(entry):
            return Checked(entry, State.GONE, f"{entry.version} does not exist any more")
        return Checked(
            entry, State.MOVED, f"{entry.requested} means nothing now ({error.what}); locked is {entry.version}"
        )
    except DsverError as error:
        return Checked(entry, State.UNKNOWN, f"could not be asked: {error}")
    why = lock_file.deviation(entry, now)
    if why is None:
        content = (
            "content digest compared" if lock_file.compared(entry, now) else "content digest unknown, not compared"
        )
        return Checked(entry, State.SAME, f"{entry.version}, {content}", now)
    if now.ref == entry.version:
        return Checked(entry, State.CHANGED, why, now)
    if _is_gone(entry):
        return Checked(entry, State.GONE, f"{why}, which does not exist any more", now)
    return Checked(entry, State.MOVED, why, now)


def _is_gone(entry: Locked) -> bool:
    """Whether the provider says that the locked version does not exist; False when it says nothing."""
    try:
        get_provider(entry.version.provider).get(entry.version.dataset, entry.version.selector or "")
    except NotFound:
        return True
    except DsverError:
        return False
    return False


def _manifest(entry: Locked) -> Manifest:
    """The files of a locked version as its provider has them at hand; any error of the tree when it has none."""
    provider = get_provider(entry.version.provider)
    version = provider.get(entry.version.dataset, entry.version.selector or "")
    manifest = provider.manifest(version)
    if manifest is None:
        raise NotFound(f"the files of {entry.version} are not known", provider=provider.name, operation="manifest")
    if entry.content_digest not in (None, manifest.digest):
        raise NotFound(f"{entry.version} has other files now", provider=provider.name, operation="manifest")
    return manifest
