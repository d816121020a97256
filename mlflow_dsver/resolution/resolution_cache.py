"""Versions that providers resolved, cached on this host: for a short time, for offline use, and for one job.

An entry is found by the reference and by where it was resolved: the store's folder, the user, and the provider's
`cache_key` (address, account, key), so that an emulator's resolution is never taken for the vendor's. Only a hash of
those is written, so no key can be read from a file or its name. Unreadable entries are ignored, and no file
here causes an error.
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
from mlflow_dsver.content.file_cache import FileCache
from mlflow_dsver.content.file_locks import unlock, wait_for_lock
from mlflow_dsver.model.json_values import check_schema, from_json, to_json
from mlflow_dsver.model.refs import LATEST, DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion, now
from mlflow_dsver.providers.registry import get_provider

JOB_SECONDS = 600.0
"""How long a resolution is valid for all processes of one job."""

MAX_FILES, MAX_AGE_SECONDS, MAX_BYTES = 2000, 30 * 86_400.0, 1 << 20
_JOB = "job-"
_PUBLISH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class CachedResolution:
    """A provider's resolution: the reference as requested, the version, and when the provider resolved it."""

    requested: str
    version: DatasetVersion
    when: datetime


def cache_resolution(requested: str, version: DatasetVersion) -> None:
    """Cache what the provider has just resolved. Raises InvalidReference for text that is no reference."""
    key = _key(requested)
    if key is not None:
        _write(f"{key}.json", requested, version)


def cached_resolution(requested: str, seconds: float | None) -> CachedResolution | None:
    """The cached resolution of a reference, if it is at most so many seconds old; None for any age.

    An entry with a time in the future is ignored. Raises InvalidReference for text that is no reference.
    """
    key = _key(requested)
    return None if key is None else _read(f"{key}.json", requested, seconds)


def invalidate(dataset: DatasetRef) -> None:
    """Remove the entries of a dataset's moving selectors, because this host has just created or changed a version.

    Entries of a version's own id stay, and those of a job, which are the same for all its processes.
    """
    cache, searched = _cache(), str(dataset.at(None)).encode()
    for name in cache.names():
        content = cache.get(name) if name.endswith(".json") and not name.startswith(_JOB) else None
        found = _parsed(content) if content and searched in content else None
        if found is None or dataset.at(None) not in (
            each.at(None) for each in (parse(found.requested), found.version.ref)
        ):
            continue
        if parse(found.requested).selector != found.version.ref.selector:
            cache.remove(name)


def resolve_once(requested: str, job: str, ask: Callable[[], DatasetVersion], wait: float) -> DatasetVersion:
    """One resolution for all processes of a job on this host: one of them queries, the others use its result.

    job: the same text in all of them. ask: returns the version, or raises to its caller only; then the next process
    queries, as it does if the first one dies. wait: seconds after which a process queries itself; all of them still
    use the resolution that was published first. It is valid for 600 seconds. If files cannot be written or locked,
    each process queries itself. Raises InvalidReference and the errors of `ask`.
    """
    name = f"{_JOB}{_key(requested, job)}.json"
    found = _read(name, requested, JOB_SECONDS)
    if found is not None:
        return found.version
    with _locked(name.replace(".json", ".asking"), wait):
        found = _read(name, requested, JOB_SECONDS)
        return found.version if found is not None else _published(name, requested, ask())


def _published(name: str, requested: str, version: DatasetVersion) -> DatasetVersion:
    """The job's resolution: this one, unless another process published first."""
    with _locked(name.replace(".json", ".writing"), _PUBLISH_SECONDS):
        found = _read(name, requested, JOB_SECONDS)
        if found is not None:
            return found.version
        _write(name, requested, version)
        return version


@contextmanager
def _locked(name: str, seconds: float) -> Iterator[None]:
    """Hold a lock file in the block; continue without it if it cannot be locked within so many seconds."""
    descriptor, locked = None, False
    try:
        with suppress(OSError):
            folder = _folder()
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.utime(descriptor)  # in use, so that it is not pruned
            locked = wait_for_lock(descriptor, seconds)
        yield
    finally:
        if descriptor is not None:
            if locked:
                unlock(descriptor)
            os.close(descriptor)


def _folder() -> Path:
    return settings.home() / "cache" / "answers"


def _cache() -> FileCache:
    return FileCache(_folder(), max_files=MAX_FILES, max_file_bytes=MAX_BYTES, max_age=MAX_AGE_SECONDS)


def _key(requested: str, job: str = "") -> str | None:
    """A hash of the reference, the user, and what the provider's resolutions depend on; None when that is unknown.

    The processes of a job have the same settings, so the key of a job does not require the last.
    """
    ref = _with_selector(requested)
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
    except Exception:  # noqa: BLE001  (a plug-in may raise anything; then nothing is cached)
        return None


def _with_selector(requested: str) -> DatasetRef:
    """The parsed reference; a dataset without a selector means its latest version."""
    ref = parse(requested)
    return ref.at(ref.selector or LATEST)


def _read(name: str, requested: str, seconds: float | None) -> CachedResolution | None:
    found = _parsed(_cache().get(name))
    if found is None or _with_selector(found.requested) != _with_selector(requested) or found.when > (time := now()):
        return None
    return found if seconds is None or time - found.when <= timedelta(seconds=seconds) else None


def _parsed(content: bytes | None) -> CachedResolution | None:
    """The resolution in a file; None if it is missing, damaged, of another schema or another user's."""
    try:
        data = json.loads(content or b"")
        check_schema(data, "a resolution", 1)
        found = from_json(CachedResolution, data)
        return found if parse(found.requested).provider == found.version.ref.provider else None
    except (ValueError, RecursionError):
        return None


def _write(name: str, requested: str, version: DatasetVersion) -> None:
    ref = parse(requested)
    found = CachedResolution(requested.strip(), version, now())
    data = {"schema": 1, "dataset": str(ref.at(None)), **to_json(found)}
    with suppress(OSError, ValueError, TypeError, RecursionError):
        _cache().put(name, json.dumps(data).encode())
