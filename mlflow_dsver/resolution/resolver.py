"""Resolve references to versions, for the inputs of a run and for `dsver.resolve`.

Sources of a resolution, in this order: the parent run's link of the same reference; the versions that `mlflow-dsver
run` resolved; with `reuse` (autolinked runs) the process's own previous resolution, or a recent one in the host's
cache; the provider, to which only one rank of a job sends the request. Under the policy `offline`, the last known
resolution is used if the provider cannot be reached. Without `reuse`, such as in `dsver.start_run(inputs=…)`, the
provider is always queried. New versions are created in the same order.

`resolve` and `create_version` are `dsver.resolve` and `dsver.create_version`; they do not import MLflow.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded, at_latest, within
from mlflow_dsver.errors import DsverError, InvalidArgument, InvalidReference, ProviderUnavailable, RateLimited
from mlflow_dsver.model.new_versions import NewVersion, parse_new
from mlflow_dsver.model.refs import DatasetRef, check_role, parse
from mlflow_dsver.model.versions import DatasetVersion, Link
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import inputs, lock_file, ranks, resolution_cache
from mlflow_dsver.resolution.creation import create, create_once
from mlflow_dsver.resolution.version_files import RefLike, as_written

KEEP = 60.0
"""Seconds for which autolinked runs use a resolution from the host's cache."""
FAILED = 60.0
"""Seconds for which a failure is raised again for autolinked runs, so that each does not wait for the time-out."""

OFFLINE = "offline"
UNREACHABLE = (ProviderUnavailable, RateLimited)

_lock = threading.RLock()
_resolutions: dict[str, Resolution] = {}
_failures: dict[str, tuple[float, DsverError]] = {}
_from_launcher: tuple[Mapping[str, DatasetVersion], frozenset[str]] | None = None
_logger = logging.getLogger(__name__)


def resolve_input(
    ref: RefLike,
    *,
    policy: settings.OnError = "raise",
    parent_links: Mapping[str, Link] | None = None,
    reuse: bool = False,
    until: Deadline | None = None,
) -> Resolution:
    """The version of a reference for a run. parent_links: of the parent run, by role. Raises as `resolve` does.

    until: shared by the queries of one run; None gives this one MLFLOW_DSVER_PROVIDER_TIMEOUT seconds.
    """
    if isinstance(ref, DatasetVersion):
        return Resolution(ref)
    text = as_written(ref)
    for link in (parent_links or {}).values():
        if text in (link.requested, str(link.version.ref)):
            return Resolution(link.version, OFFLINE in link.grade.notes)
    from_launcher = inputs.inherited_versions().get(text)
    if from_launcher is not None:
        return Resolution(from_launcher, text in inputs.inherited_offline())
    return (
        _once_per_process(text, lambda: _cached_or_resolved(text, policy, until))
        if reuse
        else _resolve(text, policy, until)
    )


def create_input(
    new: NewVersion, *, parent_links: Mapping[str, Link] | None = None, reuse: bool = False
) -> Resolution:
    """The version that is created for a run's input, or that the parent run or this process created for it.

    Raises InvalidArgument for an option that the provider does not have, and what `Provider.create` raises.
    """
    text = str(new)
    for link in (parent_links or {}).values():
        if text == link.created:
            return Resolution(link.version)
    from_launcher = inputs.inherited_versions().get(text)
    if from_launcher is not None:
        return Resolution(from_launcher)
    return _once_per_process(text, lambda: _create(new)) if reuse else _create(new)


def forget(dataset: DatasetRef) -> None:
    """Clear resolutions of a dataset that got a new version here: its tags and `latest` may have moved.

    Resolutions of the launcher stay: they are the same for all its processes.
    """
    resolution_cache.invalidate(dataset)
    with _lock:
        stale = [
            text for text in _resolutions if parse_new(text) is None and parse(text).at(None) == dataset.at(None)
        ]
        for text in stale:
            del _resolutions[text]
        if stale:
            _export_to_children()


def clear_resolutions() -> None:
    """Clear cached resolutions."""
    with _lock:
        if _resolutions:
            _resolutions.clear()
            _export_to_children()
        _failures.clear()


def _once_per_process(text: str, work: Callable[[], Resolution]) -> Resolution:
    with _lock:
        if text in _resolutions:
            return _resolutions[text]
        when, error = _failures.get(text, (0.0, None))
        if error is not None and time.monotonic() - when < FAILED:
            raise error.with_traceback(None)  # else it would grow with each raise, and hold what the frames hold
        try:
            found = work()
        except DsverError as failure:
            _failures[text] = (time.monotonic(), failure)
            raise
        _resolutions[text] = found
        _export_to_children()
        return found


def _export_to_children() -> None:
    """Pass this process's resolutions, and those of its launcher, to its child processes."""
    global _from_launcher
    if _from_launcher is None:
        _from_launcher = inputs.inherited_versions(), inputs.inherited_offline()
    inherited, offline = _from_launcher
    ours = {text: resolution.version for text, resolution in _resolutions.items()}
    try:
        text = inputs.serialize_resolved(
            {**inherited, **ours},
            [*offline, *(text for text, resolution in _resolutions.items() if resolution.offline)],
        )
    except InvalidArgument as error:
        _logger.info("processes started from here resolve their inputs themselves: %s", error)
        return
    settings.export_to_children("RESOLVED", text)


def _cached_or_resolved(text: str, policy: settings.OnError, until: Deadline | None) -> Resolution:
    keep = settings.seconds("CACHE_TTL", KEEP, least=0)
    worth = keep > 0 and get_provider(parse(text).provider).remote
    cached = resolution_cache.cached_resolution(text, keep) if worth else None
    return Resolution(cached.version) if cached is not None else _resolve(text, policy, until)


def _create(new: NewVersion) -> Resolution:
    version = create_once(new)
    forget(version.ref)
    return Resolution(version)


def _resolve(text: str, policy: settings.OnError, until: Deadline | None) -> Resolution:
    found = query_provider(text, offline=policy == "offline", until=until)
    if found.since is not None:
        _logger.warning(
            "%s is taken as it was last known, on %s: %s", found.version.ref, found.since.date(), found.unreached
        )
    return found


def _in_child() -> None:
    """A forked child: another thread of the parent, which is not here, may have been asking."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


@dataclass(frozen=True, slots=True)
class Resolution:
    """The resolution of a reference.

    offline: the version is from an earlier response. since: the time of that response; None for now or unknown.
    unreached: why the provider could not be reached; None if it could.
    """

    version: DatasetVersion
    offline: bool = False
    since: datetime | None = None
    unreached: DsverError | None = None


def provider_deadline() -> Deadline:
    """A deadline, starting now, for all queries of providers before a run starts."""
    return Deadline(settings.provider_timeout())


def query_provider(text: str, *, offline: bool, job: str = "", until: Deadline | None = None) -> Resolution:
    """Resolve a reference with its provider. offline: use the last known resolution if it cannot be reached.

    job: distinguishes the query from others of the same job's ranks. until: shared by the queries of one run; None
    gives this one the full time-out. Raises the provider's errors.
    """
    ref, until = parse(text), until or provider_deadline()
    provider = get_provider(ref.provider)
    try:
        version = ranks.once_per_job(
            text, lambda: within_timeout(provider, ref, provider.resolve, until), job, until.left()
        )
    except UNREACHABLE as error:
        last = resolution_cache.cached_resolution(text, None) if offline else None
        if last is None:
            raise
        return Resolution(last.version, offline=True, since=last.when, unreached=error)
    if provider.remote:
        resolution_cache.cache_resolution(text, version)
    return Resolution(version)


def within_timeout(
    provider: Provider, ref: DatasetRef, query: Callable[[DatasetRef], DatasetVersion], until: Deadline
) -> DatasetVersion:
    """The version that the provider resolves. Raises its errors, and ProviderUnavailable after the deadline."""
    if not provider.remote:
        return query(ref)

    def work() -> DatasetVersion:
        with at_latest(until):
            return query(ref)

    try:
        return within(until, work)
    except DeadlineExceeded as error:
        raise ProviderUnavailable(
            f"no answer within {until.seconds:g} seconds",
            provider=provider.name,
            operation="resolve",
            reference=ref,
            done="Gave up waiting",
            tip="again later, or MLFLOW_DSVER_PROVIDER_TIMEOUT to wait longer",
        ) from error


def resolve(ref: RefLike, *, role: str | None = None) -> DatasetVersion:
    """The version that a reference resolves to now; a version is returned unchanged. Nothing is linked to a run.

    role: what a run would use it for. With a role, MLFLOW_DSVER_OVERRIDE and frozen mode apply as they do to the
    input of a run: another version in the place of this one, and LockConflict unless the lock file has it.

    All processes started by `mlflow-dsver run`, and all ranks of a distributed job, get the same version for the same
    reference. `get_provider(…).resolve(…)` always sends a request to the provider. Raises InvalidReference,
    UnknownProvider, NotFound and the provider's other errors.
    """
    if role is None:
        return resolve_input(ref).version
    override = inputs.configured_overrides().get(check_role(role))
    if override is not None and parse_new(override) is not None:
        raise InvalidReference(
            "MLFLOW_DSVER_OVERRIDE asks for a new version, and only a run makes one",
            reference=override,
            tip="name an existing version, or use start_run, use or autolink",
        )
    final = ref if override is None else override
    version = resolve_input(final).version
    if settings.switch("FROZEN", default=False):
        lock_file.refuse_moved({role: as_written(final)}, {role: version})
    return version


def create_version(
    ref: RefLike,
    folder: str | Path | None = None,
    *,
    message: str | None = None,
    tags: str | Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    reference: bool = False,
    **options: str | int | bool,
) -> DatasetVersion:
    """Create a version of a folder's content, atomically.

    ref: the dataset, without a selector. folder: None if the provider creates versions of data that it already has.
    message, tags, metadata: stored with the version; tags as one text are separated by commas. reference: store only
    the manifest and leave the files where they are; such a version proves less. options: further arguments of the
    provider's `create`, such as `commit=False`. If the dataset already has this content, its version is returned.
    Raises InvalidReference, InvalidArgument, ContentError, and the provider's errors.
    """
    dataset = ref.ref.at(None) if isinstance(ref, DatasetVersion) else parse(ref)
    version = create(NewVersion(dataset, folder, message, tags, metadata, reference, options))
    forget(version.ref)
    return version
