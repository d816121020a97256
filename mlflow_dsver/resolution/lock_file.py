"""The lock file: which version each role of a project uses, to be reviewed and committed with the code.

`dsver.lock` is TOML with one table per role: the reference as requested, the version that it resolved to, and the
version's content digest if known. It is sorted and written as a whole, so that a diff shows what changed and nothing
else. A file that is read is not trusted: anything but a lock file of this schema is one clear error. This module asks
no provider: callers pass in the current resolution. When two processes change the file at once, the last one wins.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_dsver import config_files, settings
from mlflow_dsver.content.atomic_files import atomic_write
from mlflow_dsver.errors import InvalidArgument, InvalidReference, LockConflict, SettingsError
from mlflow_dsver.model.json_values import to_json
from mlflow_dsver.model.refs import LATEST, DatasetRef, check_role, parse, parse_recorded
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.text import human_count, one_line

SCHEMA = 1
NAME = "dsver.lock"
HEAD = """\
# Which dataset versions this project uses. Written by `mlflow-dsver lock`; review and commit it.
# `mlflow-dsver lock --update` moves it, `mlflow-dsver lock --check` compares it with the providers.
"""
MAX_SIZE = 1 << 17
"""Bytes of a lock file at most: hundreds of roles."""
MAX_LINE = 2000
"""Characters of a line at most; the TOML parser takes quadratic time in the dots of a key."""
BLANKS = " \t\r\n"
"""Characters that may surround a reference without being part of it."""
_DIGEST = re.compile(r"blake3:[0-9a-f]{64}\Z")
_KEYS = {"requested", "version", "content_digest"}


@dataclass(frozen=True, slots=True)
class LockEntry:
    """The version that a role is locked to.

    requested: the reference as requested, without blanks around it. version: canonical, its selector a version id.
    content_digest: `blake3:<hex>` as known when it was locked; None for unknown. Raises InvalidReference and
    InvalidArgument for anything else.
    """

    role: str
    requested: str
    version: DatasetRef
    content_digest: str | None = None

    def __post_init__(self) -> None:
        check_role(self.role)
        requested = parse_recorded(self.requested)
        if self.requested != self.requested.strip(BLANKS):
            raise InvalidArgument("blanks around what was requested", got=ascii(self.requested)[:80])
        if self.version.selector in (None, LATEST):
            raise InvalidReference(
                "names no version", reference=self.version, expected="provider://dataset@version id"
            )
        if requested.provider != self.version.provider:
            raise InvalidReference(
                "is of another provider than what was requested", reference=self.version, got=requested
            )
        if self.content_digest is not None and not _DIGEST.match(self.content_digest):
            raise InvalidArgument(
                "not a content digest", expected="blake3: and 64 hex digits", got=ascii(self.content_digest)[:80]
            )


def lock_entry(role: str, requested: str, version: DatasetVersion) -> LockEntry:
    """The entry of a role, given the reference that was requested and the version that it resolves to now."""
    return LockEntry(role, requested.strip(BLANKS), version.ref, version.content_digest)


def find_lock() -> Path:
    """Where the lock file is, absolute, whether it exists or not.

    The setting LOCK; else the nearest `dsver.lock` in the working folder or above it, up to the top of the git
    repository; else `dsver.lock` in the working folder.
    """
    chosen = settings.setting("LOCK")
    if chosen is not None:
        return settings.expanded(chosen, settings.PREFIX + "LOCK").absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if path_exists(folder / NAME):
            return folder / NAME
        if path_exists(folder / ".git"):
            break
    return here / NAME


def path_exists(path: Path) -> bool:
    """Whether a path exists; False without permission to look, and for an invalid name."""
    try:
        return path.exists()
    except OSError:
        return False


def read_lock(path: Path) -> dict[str, LockEntry]:
    """The entries of a lock file by role, sorted. Raises SettingsError for a missing, unreadable or invalid one."""
    if path_exists(path) and not path.is_file():
        raise SettingsError(f"{path} is not a file")
    content = config_files.user_file(path)
    if content is None:
        raise SettingsError(f"there is no lock file {path}", tip="mlflow-dsver lock --input ROLE=REFERENCE")
    try:
        return _entries(_tables(content))
    except _InvalidLock as error:
        raise SettingsError(
            f"{path} is no lock file: {error}",
            tip="the version of it that was committed last, or delete it and lock anew",
        ) from error


def write_lock(path: Path, mapping: Mapping[str, LockEntry]) -> None:
    """Write a lock file; one with the same content is not touched. Raises SettingsError."""
    content = lock_text(mapping).encode()
    if len(content) > MAX_SIZE:
        raise SettingsError(
            f"too much for the lock file {path}", expected=f"at most {MAX_SIZE} bytes", got=len(content)
        )
    try:
        if path.is_file() and path.read_bytes() == content:
            return
        with atomic_write(path) as stream:
            stream.write(content)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error


def lock_text(mapping: Mapping[str, LockEntry]) -> str:
    """The text of a lock file; the same entries always give the same text. Raises InvalidArgument for a wrong key."""
    import tomli_w

    inputs = {}
    for role, entry in sorted(mapping.items()):
        if role != entry.role:
            raise InvalidArgument("an entry stands under another role's name", expected=entry.role, got=role)
        parts = to_json(entry).items()
        inputs[role] = {key: part for key, part in parts if part is not None and key != "role"}
    return HEAD + tomli_w.dumps({"schema": SCHEMA, "inputs": inputs} if inputs else {"schema": SCHEMA})


def deviation(entry: LockEntry, now: DatasetVersion, requested: str | None = None) -> str | None:
    """How a version differs from the one that is locked, as a sentence; None when it does not.

    requested: the reference that resolves to that version now, if it is not the entry's. None is no proof of the
    same content when `compared` is false.
    """
    if now.ref != entry.version:
        return f"{requested or entry.requested} means {now.ref} now; locked is {entry.version}"
    if compared(entry, now) and now.content_digest != entry.content_digest:
        return (
            f"{entry.version} has another content digest now, {now.content_digest}; locked is {entry.content_digest}"
        )
    return None


def compared(entry: LockEntry, now: DatasetVersion) -> bool:
    """Whether both content digests are known, so that there is something to compare."""
    return entry.content_digest is not None and now.content_digest is not None


def is_same_request(entry: LockEntry, requested: str) -> bool:
    """Whether a reference requests what was locked: an equivalent reference, or the locked version itself."""
    request = parse(requested)
    return request == entry.version or _with_selector(request) == _with_selector(parse_recorded(entry.requested))


def ambiguities(entries: Mapping[str, LockEntry]) -> list[tuple[str, str]]:
    """(role, reason) of entries that contradict each other: the same reference with another version or digest."""
    found = []
    first: dict[DatasetRef, LockEntry] = {}
    digests: dict[DatasetRef, LockEntry] = {}
    for role, entry in sorted(entries.items()):
        other = first.setdefault(_with_selector(parse_recorded(entry.requested)), entry)
        if other.version != entry.version:
            found.append((role, f"{entry.requested} is {entry.version} here and {other.version} for {other.role}"))
        if entry.content_digest is None:
            continue
        twin = digests.setdefault(entry.version, entry)
        if twin.content_digest != entry.content_digest:
            found.append((role, f"{entry.version} has another content digest here than for {twin.role}"))
    return found


def refuse_moved(
    requests: Mapping[str, str], resolved: Mapping[str, DatasetVersion], path: Path | None = None
) -> None:
    """Raise LockConflict, before training starts, unless every input is as locked.

    requests: role to the requested reference. resolved: role to the version that it resolves to now.
    path: the lock file; None for that of `find_lock`.
    One error names all conflicts: a role that is not locked, one that was requested by another reference (the locked
    version's own is accepted), one that resolves to another version or has another content digest, and one that was
    not resolved. A content digest that is unknown on one side is no conflict.
    Raises SettingsError for an invalid lock file.
    """
    if not requests:
        return
    path = path or find_lock()
    if not path_exists(path):
        raise LockConflict(
            f"there is no lock file {path}",
            roles=tuple(sorted(requests)),
            done="Nothing was started",
            tip=command(path, requests),
        )
    entries = read_lock(path)
    reasons = deviations(entries, requests, resolved)
    if not reasons:
        return
    other = {role: requests[role] for role in reasons if not _asked(entries, role, requests[role])}
    moved = [role for role in reasons if role in resolved and role not in other]
    count = human_count(len(reasons), "input is not as locked", "inputs are not as locked")
    raise LockConflict(
        f"{count}: " + "; ".join(f"{role}: {why}" for role, why in reasons.items()),
        reference=path,
        roles=tuple(reasons),
        done="Nothing was started",
        tip=command(path, other, moved, bool(moved or other.keys() & entries.keys())) if moved or other else None,
    )


def deviations(
    entries: Mapping[str, LockEntry], requests: Mapping[str, str], resolved: Mapping[str, DatasetVersion]
) -> dict[str, str]:
    """Role to reason, sorted, for each role that is not as locked; arguments as of `refuse_moved`."""
    reasons = {}
    for role, requested in sorted(requests.items()):
        entry, now = entries.get(role), resolved.get(role)
        if entry is None:
            why: str | None = "not in the lock file"
        elif not is_same_request(entry, requested):
            why = f"asked for as {one_line(requested)}; locked is {entry.requested}"
        elif now is None:
            why = f"what {entry.requested} means now is not known"
        else:
            why = deviation(entry, now)
        if why is not None:
            reasons[role] = why
    return reasons


class _InvalidLock(Exception):
    """What is wrong with a lock file."""


def _tables(content: bytes) -> Mapping[str, Any]:
    """The table of roles in a lock file's content."""
    if len(content) > MAX_SIZE:
        raise _InvalidLock(f"larger than {MAX_SIZE} bytes")
    if max(map(len, content.splitlines()), default=0) > MAX_LINE:
        raise _InvalidLock(f"a line longer than {MAX_LINE} characters")
    if b"\n<<<<<<< " in b"\n" + content:
        raise _InvalidLock("it has the marks of a merge that was not finished")
    try:
        document = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise _InvalidLock(f"not TOML: {one_line(error, 120)}") from error
    schema = document.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        raise _InvalidLock(f"schema {one_line(repr(schema), 40)}; this version reads {SCHEMA}")
    inputs = document.get("inputs", {})
    if not isinstance(inputs, dict):
        raise _InvalidLock("inputs is not a table")
    _known(document.keys(), {"schema", "inputs"}, "it")
    return inputs


def _entries(tables: Mapping[str, Any]) -> dict[str, LockEntry]:
    entries = {}
    for role, table in sorted(tables.items()):
        where = one_line(role, 70)
        if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
            raise _InvalidLock(f"{where} is not a table of texts")
        _known(table.keys(), _KEYS, where)
        if missing := {"requested", "version"} - table.keys():
            raise _InvalidLock(f"{where} has no {sorted(missing)[0]}")
        try:
            version = parse(table["version"])
            entries[role] = LockEntry(role, table["requested"], version, table.get("content_digest"))
        except (InvalidReference, InvalidArgument) as error:
            raise _InvalidLock(f"{where}: {one_line(error, 300)}") from error
        if str(version) != table["version"]:
            raise _InvalidLock(f"{where}: the version is not written as {version}")
    return entries


def _known(keys: Iterable[str], known: set[str], where: str) -> None:
    if unknown := sorted(set(keys) - known):
        raise _InvalidLock(f"{where} has the unknown key {one_line(unknown[0], 40)}")


def _with_selector(ref: DatasetRef) -> DatasetRef:
    return ref.at(ref.selector or LATEST)


def _asked(entries: Mapping[str, LockEntry], role: str, requested: str) -> bool:
    return role in entries and is_same_request(entries[role], requested)


def command(path: Path, inputs: Mapping[str, str], moved: Iterable[str] = (), update: bool = False) -> str:
    """The command that locks these inputs."""
    arguments = ["mlflow-dsver", "lock"]
    if path.absolute() != find_lock():
        arguments += ["--file", str(path)]
    if update:
        arguments += ["--update", *moved]
    for role, requested in sorted(inputs.items()):
        arguments += ["--input", f"{role}={requested}"]
    return shlex.join(arguments)
