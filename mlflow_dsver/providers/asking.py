"""Asks a provider what a reference means, for a run or for the launcher of one: one question, one answer for a job.

Among the ranks of a job on this host only one asks. A provider that cannot be reached is stood in for by its last
known answer, if that is wanted. Answers that cost a request are kept on this host, for that and for the next run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mlflow_dsver import ranks, resolutions, settings
from mlflow_dsver.errors import DsverError, ProviderUnavailable, RateLimited
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.refs import parse
from mlflow_dsver.versions import DatasetVersion

UNREACHABLE = (ProviderUnavailable, RateLimited)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reference means.

    offline: the provider did not say so now. since: when it did say so; None for now, or when that is not known.
    unreached: why it could not be asked; None when it could.
    """

    version: DatasetVersion
    offline: bool = False
    since: datetime | None = None
    unreached: DsverError | None = None


def ask(text: str, *, offline: bool, job: str = "") -> Answer:
    """What a reference means by its provider. offline: its last known answer will do when it cannot be reached.

    job: told apart from other questions of the same rank's job. Raises the provider's errors.
    """
    ref = parse(text)
    provider = get_provider(ref.provider)
    try:
        version = once(text, lambda: provider.resolve(ref), job, settings.provider_timeout())
    except UNREACHABLE as error:
        last = resolutions.kept(text, None) if offline else None
        if last is None:
            raise
        return Answer(last.version, offline=True, since=last.when, unreached=error)
    if provider.remote:
        resolutions.keep(text, version)
    return Answer(version)


def once(text: str, work: Callable[[], DatasetVersion], job: str, wait: float) -> DatasetVersion:
    """What the work gives; among the ranks of a job on this host one of them does it. See `resolutions.once`."""
    rank = ranks.current()
    return work() if rank is None else resolutions.once(text, f"{rank.job} {job}".rstrip(), work, wait)
