"""Asks providers about versions, once each, and keeps a failure as a value with its meaning.

A provider that was down or refused the key is not asked again in the same check: each further question would cost
its time-out and get the same answer. What that leaves open is UNREACHABLE, and says so.
"""

from __future__ import annotations

from collections.abc import Callable

from mlflow_dsver.checks.evidence import Lookup, Verdict
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
"""Characters of a failure's reason at most."""

_UNREACHABLE = (AuthenticationFailed, PermissionDenied, RateLimited, ProviderUnavailable, StoreError)
_NOT_AGAIN = (AuthenticationFailed, RateLimited, ProviderUnavailable)


def meaning(error: DsverError) -> Verdict:
    """What a failure says about the data: never better than UNVERIFIABLE."""
    if isinstance(error, NotFound):
        return Verdict.MISSING
    if isinstance(error, CorruptObject):
        return Verdict.CHANGED
    return Verdict.UNREACHABLE if isinstance(error, _UNREACHABLE) else Verdict.UNVERIFIABLE


def reason(error: BaseException) -> str:
    """An error as one line."""
    return one_line(error, REASON_LIMIT)


class ProviderCache:
    """Answers questions about versions, each asked of its provider once; threads may share it.

    providers: how a provider is found by name. resolutions: how often a provider was asked for a version.
    """

    def __init__(self, providers: Callable[[str], Provider] = get_provider) -> None:
        self._find = providers
        self._providers: dict[str, Provider] = {}
        self._answers: dict[DatasetRef, Lookup] = {}
        self._down: dict[str, Lookup] = {}
        self.resolutions = 0

    def provider(self, name: str) -> Provider:
        """The provider of that name, made once. Raises UnknownProvider, SettingsError."""
        if name not in self._providers:
            self._providers[name] = self._find(name)
        return self._providers[name]

    def version(self, ref: DatasetRef) -> Lookup:
        """What the provider has under this very id; a tag of the same name does not stand in for it."""
        return self._ask(ref, lambda provider: provider.get(ref.dataset, ref.selector or ""))

    def resolved(self, ref: DatasetRef) -> Lookup:
        """What the reference, which may have a moving selector, means now."""
        answer = self._ask(ref, lambda provider: provider.resolve(ref))
        if answer.version is not None:
            self._answers.setdefault(answer.version.ref, answer)
        return answer

    def vouches(self, version: DatasetVersion) -> bool:
        """Whether the provider's word alone is good for the version's bytes, as it describes it there."""
        try:
            return self.provider(version.ref.provider).grade(version).meets("B")
        except DsverError:
            return False

    def recorded(self, version: DatasetVersion) -> Lookup:
        """What the provider has under the id of a recorded version; UNREACHABLE where another one may have it."""
        answer = self.version(version.ref)
        if answer.verdict is not Verdict.MISSING:
            return answer
        try:
            why = self.provider(version.ref.provider).elsewhere(version)
        except DsverError as error:
            why = reason(error)
        return answer if why is None else Lookup(verdict=Verdict.UNREACHABLE, reason=why, elsewhere=True)

    def _ask(self, ref: DatasetRef, question: Callable[[Provider], DatasetVersion]) -> Lookup:
        if ref not in self._answers:
            self._answers[ref] = self._down.get(ref.provider) or self._asked(ref, question)
        return self._answers[ref]

    def _asked(self, ref: DatasetRef, question: Callable[[Provider], DatasetVersion]) -> Lookup:
        try:
            provider = self.provider(ref.provider)
            self.resolutions += 1
            version = question(provider)
            grade = provider.grade(version)
            return Lookup(version=version, vouched=grade.meets("B"), grade=grade)
        except DsverError as error:
            answer = Lookup(verdict=meaning(error), reason=reason(error))
            if isinstance(error, _NOT_AGAIN):
                told = f"not asked again in this check, after: {answer.reason}"
                self._down[ref.provider] = Lookup(verdict=answer.verdict, reason=told)
            return answer
        except Exception as error:  # noqa: BLE001  (a plugin may raise anything; that is no match either)
            told = f"the provider failed with {error_line(error, REASON_LIMIT)}"
            return Lookup(verdict=Verdict.UNVERIFIABLE, reason=one_line(told, REASON_LIMIT))
