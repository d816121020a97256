"""Asks a provider what a reference means, for a run or for the launcher of one: one question, one answer for a job.

Among the ranks of a job on this host only one asks. However long a provider would wait, and for whatever, a question
takes MLFLOW_DSVER_PROVIDER_TIMEOUT seconds at most, for all ranks the same. A provider that cannot be reached is
stood in for by its last known answer, if that is wanted. Answers that cost a request are kept on this host, for that
and for the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mlflow_dsver import settings
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded, at_latest
from mlflow_dsver.errors import DsverError, ProviderUnavailable, RateLimited
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.http.bounded import within
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.resolution import ranks, resolution_cache

UNREACHABLE = (ProviderUnavailable, RateLimited)


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a reference means.

    offline: the provider did not say so now. since: when it did say so; None for now, or when that is not known.
    unreached: why it could not be asked; None when it could.
    """

    version: DatasetVersion
    offline: bool = False
    since: datetime | None = None
    unreached: DsverError | None = None


def time_for_asking() -> Deadline:
    """A deadline for what a run asks providers before it starts, beginning now."""
    return Deadline(settings.provider_timeout())


def ask(text: str, *, offline: bool, job: str = "", until: Deadline | None = None) -> Resolution:
    """What a reference means by its provider. offline: its last known answer will do when it cannot be reached.

    job: told apart from other questions of the same rank's job. until: shared by the questions of one run; None
    gives this one the whole time. Raises the provider's errors.
    """
    ref, until = parse(text), until or time_for_asking()
    provider = get_provider(ref.provider)
    try:
        version = once(text, lambda: in_time(provider, ref, provider.resolve, until), job, until.left())
    except UNREACHABLE as error:
        last = resolution_cache.kept(text, None) if offline else None
        if last is None:
            raise
        return Resolution(last.version, offline=True, since=last.when, unreached=error)
    if provider.remote:
        resolution_cache.keep(text, version)
    return Resolution(version)


def in_time(
    provider: Provider, ref: DatasetRef, question: Callable[[DatasetRef], DatasetVersion], until: Deadline
) -> DatasetVersion:
    """The provider's answer about a reference. Raises its errors, and ProviderUnavailable when none comes in time."""
    if not provider.remote:
        return question(ref)

    def work() -> DatasetVersion:
        with at_latest(until):
            return question(ref)

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


def once(text: str, work: Callable[[], DatasetVersion], job: str, wait: float) -> DatasetVersion:
    """What the work gives; among the ranks of a job on this host one of them does it. See `resolutions.once`."""
    rank = ranks.current()
    return work() if rank is None else resolution_cache.resolve_once(text, f"{rank.job} {job}".rstrip(), work, wait)
