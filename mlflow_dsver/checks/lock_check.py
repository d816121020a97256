"""Check a lock file against the providers, and compute its updated content.

Versions are always requested from the providers, never from a cache. `check_lock` returns a report, `plan` the
updated entries; it raises LockConflict if an entry would change that may not. Nothing here writes the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from mlflow_dsver.errors import DsverError, InvalidReference, LockConflict, NotFound, SettingsError
from mlflow_dsver.model.differences import Difference, difference
from mlflow_dsver.model.json_values import to_json
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import DatasetRef, parse_recorded
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import lock_file
from mlflow_dsver.resolution.lock_file import LockEntry
from mlflow_dsver.text import human_count


class State(StrEnum):
    """The state of a locked input."""

    SAME = "same"
    """The reference still resolves to the locked version, and no content digest contradicts it."""
    MOVED = "moved"
    """The reference resolves to another version now, or to none."""
    GONE = "gone"
    """The locked version no longer exists."""
    CHANGED = "changed"
    """The locked version has another content digest, or the locked digest does not fit its id."""
    AMBIGUOUS = "ambiguous"
    """Another entry contradicts this one about the same reference or the same version."""
    UNKNOWN = "unknown"
    """The provider could not be reached."""
    NOT_ASKED = "not asked"
    """The check was offline."""


FINDINGS = frozenset({State.MOVED, State.GONE, State.CHANGED, State.AMBIGUOUS})


@dataclass(frozen=True, slots=True)
class Checked:
    """A locked input and its state. found: the version that its reference resolves to now; None if unknown."""

    entry: LockEntry
    state: State
    detail: str
    found: DatasetVersion | None = None


@dataclass(frozen=True, slots=True)
class LockReport:
    """A lock file compared with the providers. broken: why the file cannot be used; None for a valid file.

    unread: the file could not be read, so that it is unknown whether it is valid.
    """

    path: Path
    inputs: tuple[Checked, ...] = ()
    broken: str | None = None
    unread: bool = False

    @property
    def exit_code(self) -> int:
        """0 all the same, 1 findings, 3 a provider or the file could not be read."""
        if (self.broken and not self.unread) or any(each.state in FINDINGS for each in self.inputs):
            return 1
        return 3 if self.unread or any(each.state is State.UNKNOWN for each in self.inputs) else 0

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {
            "schema": 1,
            "file": str(self.path),
            "ok": self.exit_code == 0,
            "problem": self.broken,
            "inputs": [
                to_json(each.entry)
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
    """The change of one role in a lock file; before is None for an added role, after for a removed one.

    difference: of the files, if both manifests are available; else why_unknown says why not (None if the version did
    not change).
    """

    role: str
    before: LockEntry | None
    after: LockEntry | None
    difference: Difference | None = None
    why_unknown: str | None = None

    @property
    def kind(self) -> str:
        """`added`, `removed`, `moved` (another version or content), else `changed` (another reference, a digest)."""
        if self.before is None:
            return "added"
        if self.after is None:
            return "removed"
        return "moved" if _moves(self.before, self.after) else "changed"

    def to_json(self) -> dict[str, Any]:
        """The change as a JSON object, with the counts of the difference."""
        found = self.difference
        kinds = ("added", "removed", "changed", "renamed")
        return {
            "role": self.role,
            "kind": self.kind,
            "before": to_json(self.before) if self.before else None,
            "after": to_json(self.after) if self.after else None,
            "difference": found
            and {kind: len(getattr(found, kind)) for kind in kinds}
            | {"unchanged": found.unchanged, "growth": found.growth},
            "difference_unknown": self.why_unknown,
        }


def check_lock(path: Path, *, ask: bool = True) -> LockReport:
    """Compare a lock file with its providers. ask: False checks only the file itself, offline."""
    try:
        entries = lock_file.read_lock(path)
    except SettingsError as error:
        return LockReport(path, broken=str(error), unread=isinstance(error.__cause__, OSError))
    ambiguous = dict(lock_file.ambiguities(entries))
    resolve = cached_resolver() if ask else None
    return LockReport(path, tuple(_check(entry, resolve, ambiguous.get(role)) for role, entry in entries.items()))


def cached_resolver() -> Callable[[DatasetRef], DatasetVersion]:
    """A function that resolves references, each once; a failure is raised again for the same reference."""
    results: dict[DatasetRef, DatasetVersion | DsverError] = {}

    def resolve(ref: DatasetRef) -> DatasetVersion:
        if ref not in results:
            try:
                results[ref] = get_provider(ref.provider).resolve(ref)
            except DsverError as error:
                results[ref] = error
        result = results[ref]
        if isinstance(result, DsverError):
            raise result
        return result

    return resolve


def plan(
    path: Path,
    entries: Mapping[str, LockEntry],
    inputs: Mapping[str, str],
    resolved: Mapping[str, DatasetVersion],
    may_move: Collection[str] = (),
) -> dict[str, LockEntry]:
    """The updated entries of a lock file.

    entries: its present entries by role. inputs: role to reference. resolved: role to the version of that reference.
    may_move: roles whose entry may change. path: for the error. Raises LockConflict if another entry would change.
    """
    after = dict(entries)
    refused = {}
    for role, reference in inputs.items():
        entry, now = entries.get(role), resolved[role]
        updated = lock_file.lock_entry(role, reference, now)
        if entry is not None and updated.version == entry.version and updated.content_digest is None:
            updated = replace(updated, content_digest=entry.content_digest)  # known before and not contradicted
        if entry is not None and role not in may_move and (why := lock_file.deviation(entry, now, reference)):
            refused[role] = why
        after[role] = updated
    if refused:
        count = human_count(len(refused), "input would move", "inputs would move")
        reworded = {
            role: inputs[role] for role in refused if not lock_file.is_same_request(entries[role], inputs[role])
        }
        raise LockConflict(
            f"{count}: " + "; ".join(f"{role}: {why}" for role, why in sorted(refused.items())),
            reference=path,
            roles=tuple(sorted(refused)),
            done="Nothing was written",
            tip=lock_file.command(path, reworded, sorted(refused.keys() - reworded.keys()), update=True),
        )
    return after


def changes(before: Mapping[str, LockEntry], after: Mapping[str, LockEntry]) -> list[Change]:
    """The changes from one content of a lock file to another, by role, with the changed files if they are known."""
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


def _moves(old: LockEntry, new: LockEntry) -> bool:
    digests = (old.content_digest, new.content_digest)
    return old.version != new.version or (None not in digests and digests[0] != digests[1])


def _check(
    entry: LockEntry, resolve: Callable[[DatasetRef], DatasetVersion] | None, ambiguity: str | None
) -> Checked:
    """Check an entry. ambiguity: reported only if the provider's response does not decide the state."""
    found = (
        Checked(entry, State.NOT_ASKED, f"locked is {entry.version}") if resolve is None else _compare(entry, resolve)
    )
    if found.state not in FINDINGS and not _fits(entry):
        return replace(found, state=State.CHANGED, detail=f"{entry.version} cannot have {entry.content_digest}")
    if ambiguity and found.state not in FINDINGS and not (found.found and lock_file.compared(entry, found.found)):
        return replace(found, state=State.AMBIGUOUS, detail=ambiguity)
    return found


def _fits(entry: LockEntry) -> bool:
    """Whether the locked id is compatible with the locked content digest, judged by the id alone."""
    if entry.content_digest is None:
        return True
    try:
        return get_provider(entry.version.provider).id_allows(entry.version, entry.content_digest)
    except DsverError:
        return True  # the provider is not installed or not configured: unknown


def _compare(entry: LockEntry, resolve: Callable[[DatasetRef], DatasetVersion]) -> Checked:
    try:
        now = resolve(parse_recorded(entry.requested))
    except (NotFound, InvalidReference) as error:
        if _is_gone(entry):
            return Checked(entry, State.GONE, f"{entry.version} no longer exists")
        return Checked(
            entry, State.MOVED, f"{entry.requested} cannot be resolved now ({error.what}); locked is {entry.version}"
        )
    except DsverError as error:
        return Checked(entry, State.UNKNOWN, f"could not be resolved: {error}")
    why = lock_file.deviation(entry, now)
    if why is None:
        content = (
            "content digest compared" if lock_file.compared(entry, now) else "content digest unknown, not compared"
        )
        return Checked(entry, State.SAME, f"{entry.version}, {content}", now)
    if now.ref == entry.version:
        return Checked(entry, State.CHANGED, why, now)
    if _is_gone(entry):
        return Checked(entry, State.GONE, f"{why}, which no longer exists", now)
    return Checked(entry, State.MOVED, why, now)


def _is_gone(entry: LockEntry) -> bool:
    """Whether the provider reports that the locked version does not exist; False if it fails."""
    try:
        get_provider(entry.version.provider).get(entry.version.dataset, entry.version.selector or "")
    except NotFound:
        return True
    except DsverError:
        return False
    return False


def _manifest(entry: LockEntry) -> Manifest:
    """The manifest of a locked version from its provider. Raises a DsverError if there is none."""
    provider = get_provider(entry.version.provider)
    version = provider.get(entry.version.dataset, entry.version.selector or "")
    manifest = provider.manifest(version)
    if manifest is None:
        raise NotFound(f"{entry.version} has no manifest", provider=provider.name, operation="manifest")
    if entry.content_digest not in (None, manifest.digest):
        raise NotFound(f"{entry.version} has different files now", provider=provider.name, operation="manifest")
    return manifest
