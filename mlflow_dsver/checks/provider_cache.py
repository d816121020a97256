"""Looks up versions at their providers, once each, and keeps results and failures for the length of a check.

After a provider was down or rejected the API key, no further request is sent to it in the same check: each would wait
for its time-out and fail in the same way. The remaining versions are UNREACHABLE, and their reason says so.
"""

from __future__ import annotations

from collections.abc import Callable

from mlflow_dsver.checks.reports import Lookup, Verdict
from mlflow_dsver.errors import (
    AuthenticationFailed,
    CorruptObject,
    DsverError,
    NotFound,
    PermissionDenied,
    ProviderUnavailable,
    RateLimited,
    StoreError,
)
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.registry import get_provider
from mlflow_dsver.text import error_line, one_line

REASON_LIMIT = 600
"""Maximum number of characters of a failure's reason."""

_UNREACHABLE = (AuthenticationFailed, PermissionDenied, RateLimited, ProviderUnavailable, StoreError)
_DO_NOT_RETRY = (AuthenticationFailed, RateLimited, ProviderUnavailable)


def meaning(error: DsverError) -> Verdict:
    """The verdict that a failure implies for the data; never better than UNVERIFIABLE."""
    if isinstance(error, NotFound):
        return Verdict.MISSING
    if isinstance(error, CorruptObject):
        return Verdict.CHANGED
    return Verdict.UNREACHABLE if isinstance(error, _UNREACHABLE) else Verdict.UNVERIFIABLE


def reason(error: BaseException) -> str:
    """The error's message as one line of at most REASON_LIMIT characters."""
    return one_line(error, REASON_LIMIT)


class ProviderCache:
    """Looks up versions, each once at its provider; safe to share between threads.

    providers: returns a provider by name. resolutions: number of versions requested from providers so far.
    """

    def __init__(self, providers: Callable[[str], Provider] = get_provider) -> None:
        self._get_provider = providers
        self._providers: dict[str, Provider] = {}
        self._lookups: dict[DatasetRef, Lookup] = {}
        self._down: dict[str, Lookup] = {}
        self.resolutions = 0

    def provider(self, name: str) -> Provider:
        """The provider of that name, created once. Raises UnknownProvider, SettingsError."""
        if name not in self._providers:
            self._providers[name] = self._get_provider(name)
        return self._providers[name]

    def version(self, ref: DatasetRef) -> Lookup:
        """The version with exactly this id; a tag of the same name does not count."""
        return self._lookup(ref, lambda provider: provider.get(ref.dataset, ref.selector or ""))

    def resolved(self, ref: DatasetRef) -> Lookup:
        """The version that the reference, which may have a moving selector, resolves to now."""
        result = self._lookup(ref, lambda provider: provider.resolve(ref))
        if result.version is not None:
            self._lookups.setdefault(result.version.ref, result)
        return result

    def is_immutable(self, version: DatasetVersion) -> bool:
        """Whether the provider grades the version, as described in the argument, B or better."""
        try:
            return self.provider(version.ref.provider).grade(version).meets("B")
        except DsverError:
            return False

    def recorded(self, version: DatasetVersion) -> Lookup:
        """The lookup of a recorded version by its id; UNREACHABLE if it may be in another store."""
        result = self.version(version.ref)
        if result.verdict is not Verdict.MISSING:
            return result
        try:
            why = self.provider(version.ref.provider).elsewhere(version)
        except DsverError as error:
            why = reason(error)
        return result if why is None else Lookup(verdict=Verdict.UNREACHABLE, reason=why, elsewhere=True)

    def _lookup(self, ref: DatasetRef, request: Callable[[Provider], DatasetVersion]) -> Lookup:
        if ref not in self._lookups:
            self._lookups[ref] = self._down.get(ref.provider) or self._requested(ref, request)
        return self._lookups[ref]

    def _requested(self, ref: DatasetRef, request: Callable[[Provider], DatasetVersion]) -> Lookup:
        try:
            provider = self.provider(ref.provider)
            self.resolutions += 1
            version = request(provider)
            grade = provider.grade(version)
            return Lookup(version=version, guaranteed=grade.meets("B"), grade=grade)
        except DsverError as error:
            result = Lookup(verdict=meaning(error), reason=reason(error))
            if isinstance(error, _DO_NOT_RETRY):
                why = f"not requested again in this check, after: {result.reason}"
                self._down[ref.provider] = Lookup(verdict=result.verdict, reason=why)
            return result
        except Exception as error:  # noqa: BLE001  (a plug-in may raise anything, and that is not a match)
            why = f"the provider failed with {error_line(error, REASON_LIMIT)}"
            return Lookup(verdict=Verdict.UNVERIFIABLE, reason=one_line(why, REASON_LIMIT))
