"""Answers of providers, kept on this host: for a stated short time, for when a provider is away, and for one job.

An answer is found by what was asked and by where: the store's folder, the user, and what the provider says its
answers depend on (`Provider.cache_key`: address, account, key), so that an emulator's answer is never taken for the
vendor's. Of those only one hash is kept, together with the words of the question, so no key can be read from a file
or its name. What is missing, corrupt, foreign or cannot be written
is as if it were not there; no file here is ever the reason for an error. Files are small, readable by their owner
alone, not flushed to the disk, and bounded in number and age.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import atomic_write, make_folder
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.model.refs import LATEST, DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion, date_text, date_value, now
from mlflow_dsver.providers.registry import get_provider

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

JOB_SECONDS = 600.0
"""How long an answer is good for all processes of one job."""

MAX_FILES, MAX_AGE_SECONDS, MAX_BYTES = 2000, 30 * 86_400.0, 1 << 20
_JOB = "job-"
_POLL, _WRITING = 0.02, 5.0


@dataclass(frozen=True, slots=True)
class CachedResolution:
    """An answer of a provider: what was asked for, which version that was, and when it was so."""

    requested: str
    version: DatasetVersion
    when: datetime


def keep(requested: str, version: DatasetVersion) -> None:
    """Keep an answer that the provider gave just now. Raises InvalidReference for words that are no reference."""
    key = _key(requested)
    if key is not None:
        _write(_folder() / f"{key}.json", requested, version)


def kept(requested: str, seconds: float | None) -> CachedResolution | None:
    """The answer kept for these words, if it is at most so many seconds old; None for any age. Never one from later.

    Raises InvalidReference for words that are no reference.
    """
    key = _key(requested)
    return None if key is None else _read(_folder() / f"{key}.json", requested, seconds)


def forget(dataset: DatasetRef) -> None:
    """Drop what is kept for moving selectors of a dataset, because this host just made or changed a version of it.

    Answers for one version's own id stay, and those of a job, which is one for all its processes.
    """
    name = str(dataset.at(None)).encode()
    for path in _files(".json"):
        content = b"" if path.name.startswith(_JOB) else _content(path)
        found = _parsed(content) if name in content else None
        if found is None or dataset.at(None) not in (
            each.at(None) for each in (parse(found.requested), found.version.ref)
        ):
            continue
        if parse(found.requested).selector != found.version.ref.selector:
            with suppress(OSError):
                path.unlink()


def resolve_once(requested: str, job: str, ask: Callable[[], DatasetVersion], wait: float) -> DatasetVersion:
    """One answer for all processes of a job on this host: one of them asks, the others take what it got.

    job: the same text in all of them. ask: gives the version or raises, which its caller then gets; the next in line
    asks for itself, as it does when the asker dies. wait: seconds after which a process asks for itself; even then
    all of them take the answer that came first. An answer is good for 600 seconds. Where files cannot be written or
    locked, each process asks for itself. Raises InvalidReference, and whatever `ask` raises.
    """
    path = _folder() / f"{_JOB}{_key(requested, job)}.json"
    found = _read(path, requested, JOB_SECONDS)
    if found is not None:
        return found.version
    with _locked(path.with_suffix(".asking"), wait):
        found = _read(path, requested, JOB_SECONDS)
        return found.version if found is not None else _published(path, requested, ask())


def _published(path: Path, requested: str, version: DatasetVersion) -> DatasetVersion:
    """The answer of the job: this one, unless somebody whose wait was over was first."""
    with _locked(path.with_suffix(".writing"), _WRITING):
        found = _read(path, requested, JOB_SECONDS)
        if found is not None:
            return found.version
        _write(path, requested, version)
        return version


@contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    """The kernel's lock on a file, released however the process ends; after so many seconds, go on without it."""
    descriptor = _opened(path)
    if descriptor is None:
        yield
        return
    try:
        deadline, have = Deadline(seconds), False
        while not (have := _try_lock(descriptor)) and deadline.left() > 0:
            deadline.sleep(_POLL)
        try:
            yield
        finally:
            if have:
                with suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may have the descriptor as well
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int | None:
    if not hasattr(fcntl, "flock"):
        return None
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    with suppress(OSError):
        os.utime(descriptor)  # in use, so not old
    return descriptor


def _try_lock(descriptor: int) -> bool:
    """Whether the lock is ours now; a file system without locks gives it to everybody."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _folder() -> Path:
    return settings.home() / "cache" / "answers"


def _files(suffix: str = "") -> list[Path]:
    try:
        return [path for path in _folder().iterdir() if path.name.endswith(suffix)]
    except OSError:
        return []


def _key(requested: str, job: str = "") -> str | None:
    """One hash over the question, who asks, and where the answer comes from; None when the last is not known.

    The processes of a job have the same settings, so their answers need not be told apart by those.
    """
    ref = _spelled_out(requested)
    provider = _provider_key(ref.provider)
    if provider is None and not job:
        return None
    user = os.getuid() if hasattr(os, "getuid") else None
    place = [str(settings.home()), user, provider or {}]
    return hashlib.sha256(json.dumps([str(ref), job, place], sort_keys=True).encode()).hexdigest()[:40]


def _provider_key(name: str) -> Mapping[str, object] | None:
    try:
        key = get_provider(name).cache_key()
        json.dumps(key, sort_keys=True)
        return key
    except Exception:  # noqa: BLE001  (a plug-in may raise anything; then nothing is kept)
        return None


def _spelled_out(requested: str) -> DatasetRef:
    """What the words mean; a dataset without a selector and its latest version are the same."""
    ref = parse(requested)
    return ref.at(ref.selector or LATEST)


def _read(path: Path, requested: str, seconds: float | None) -> CachedResolution | None:
    found = _parsed(_content(path))
    if found is None or _spelled_out(found.requested) != _spelled_out(requested) or found.when > (time := now()):
        return None
    return found if seconds is None or time - found.when <= timedelta(seconds=seconds) else None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError:
        return b""


def _parsed(content: bytes) -> CachedResolution | None:
    """What a file says; None for one that is not ours: cut, changed, of another schema or too large."""
    try:
        data = json.loads(content[: MAX_BYTES + 1])
        when = date_value(data["when"])
        version = DatasetVersion.from_json(data["version"])
        version.to_json()  # its parts have the right kinds
        if data["schema"] != 1 or when is None or parse(data["requested"]).provider != version.ref.provider:
            return None
        return CachedResolution(data["requested"], version, when)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _write(path: Path, requested: str, version: DatasetVersion) -> None:
    ref = parse(requested)
    data = {
        "schema": 1,
        "requested": requested.strip(),
        "dataset": str(ref.at(None)),
        "when": date_text(now()),
        "version": version.to_json(),
    }
    try:
        content = json.dumps(data).encode()
        if len(content) > MAX_BYTES:
            return
        if not path.exists():
            make_folder(path.parent)
            _prune()
        with atomic_write(path, mode=0o600, durable=False) as stream:
            stream.write(content)
    except (OSError, ValueError, TypeError, RecursionError):
        return


def _prune() -> None:
    """Make room for a new file: nothing older than 30 days, and at most 2,000 files, the oldest going first."""
    dated = []
    for path in _files():
        with suppress(OSError):
            dated.append((path.stat().st_mtime, path))
    dated.sort(reverse=True)
    oldest = now().timestamp() - MAX_AGE_SECONDS
    for number, (when, path) in enumerate(dated):
        if when < oldest or number >= MAX_FILES - 1:
            with suppress(OSError):
                path.unlink()
