"""The exceptions of this package, all below `DsverError`.

A message states what failed, for which reference, what was expected and what was found, what was done and what to
try next; each part is also an attribute, so that programs need not parse the text. No error contains a secret: all
parts pass through `mlflow_dsver.secrets.redacted`, and code that holds an API key removes it first (`redact`).

A mismatch that a check finds is a value in its report and never an exception.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_dsver.secrets import redacted_parts
from mlflow_dsver.text import encodable


def _text(part: object | None) -> str | None:
    return None if part is None else encodable(str(part))


class DsverError(Exception):
    """Base class of all errors that this package raises.

    exit_code: exit code of the command line: 2 for wrong usage, 3 for "could not be done or checked".
    """

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        reference: object | None = None,
        expected: object | None = None,
        got: object | None = None,
        done: str | None = None,
        tip: str | None = None,
    ) -> None:
        shown, *parts = redacted_parts(*(_text(part) for part in (what, expected, got, done, tip)))
        self.what = shown or ""
        self.reference = None if reference is None else str(reference)
        self.expected, self.got, self.done, self.tip = parts
        super().__init__(self.what)

    def __str__(self) -> str:
        parts = [self.what if self.reference is None else f"{self.reference}: {self.what}"]
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.got is not None:
            parts.append(f"got {self.got}")
        text = "; ".join(parts)
        if self.done:
            text += f". {self.done}"
        if self.tip:
            text += f". Try: {self.tip}"
        return text


class InvalidReference(DsverError, ValueError):
    """A reference, role or tag is malformed."""

    exit_code = 2


class InvalidArgument(DsverError, ValueError):
    """A message, metadata or another argument cannot be recorded, or arguments contradict each other."""

    exit_code = 2


class SettingsError(DsverError, ValueError):
    """A setting is invalid; the message names the variable or file, never a secret value."""

    exit_code = 2


class LockConflict(DsverError):
    """Inputs differ from the lock file. roles: the roles concerned, sorted. A finding rather than a failure."""

    exit_code = 1

    def __init__(self, what: str, *, roles: tuple[str, ...] = (), **parts: Any) -> None:
        super().__init__(what, **parts)
        self.roles = roles


class UnknownProvider(DsverError, LookupError):
    """No provider of that name is installed; the message lists the installed ones."""

    exit_code = 2


class ContentError(DsverError, OSError):
    """A folder cannot be hashed: missing, empty, unreadable, with special files, or changed while it was read.

    paths: the files concerned, relative to the folder; the message names the first ones.
    """

    exit_code = 2

    def __init__(self, what: str, *, paths: tuple[str, ...] = (), **parts: Any) -> None:
        super().__init__(what, **parts)
        self.paths = paths


class ProviderError(DsverError):
    """A provider could not complete a request. provider, operation: their names. status: the HTTP status, if any.

    code, details: the provider's own error code and error details, unchanged; None if it sent none. payload: the
    response body as far as it could be read; None if there was none.
    """

    def __init__(
        self,
        what: str,
        *,
        provider: str | None = None,
        operation: str | None = None,
        status: int | None = None,
        code: str | None = None,
        details: object = None,
        payload: object = None,
        **parts: Any,
    ) -> None:
        super().__init__(what, **parts)
        self.provider = provider
        self.operation = operation
        self.status = status
        self.code = code
        self.details = details
        self.payload = payload

    def __str__(self) -> str:
        text = super().__str__()
        if self.provider and self.operation:
            status = f" (HTTP {self.status})" if self.status else ""
            return f"{self.provider} {self.operation}{status}: {text}"
        return text


class NotFound(ProviderError, LookupError):
    """The provider responded that the requested object does not exist."""

    exit_code = 2


class AuthenticationFailed(ProviderError):
    """The provider rejected the API key, or none is configured."""


class PermissionDenied(ProviderError, PermissionError):
    """The API key is valid but does not permit this operation."""


class RateLimited(ProviderError):
    """Too many requests. retry_after: seconds; None if the provider did not state it."""

    def __init__(self, what: str, *, retry_after: float | None = None, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.retry_after = retry_after


class ProviderUnavailable(ProviderError, ConnectionError):
    """The provider did not respond, not within the deadline, or responded with a server error."""


class UnexpectedResponse(ProviderError):
    """A response that does not follow the provider's API. payload: the response."""


class VersionHeld(DsverError, PermissionError):
    """A version cannot be deleted, as there are reasons to keep it; the message names the first ones."""

    exit_code = 2


class Unsupported(ProviderError, NotImplementedError):
    """The provider does not support this operation."""

    exit_code = 2


class StoreError(DsverError, OSError):
    """The local store cannot be read or written: full disk, read-only, missing permission, unknown format."""


class CorruptObject(StoreError):
    """The bytes of a stored object do not have the digest in its name; they are never returned."""


class TrackingError(DsverError):
    """MLflow rejected a request, lost written data or did not respond; the original error is `__cause__`.

    details: for programs, key to (expected, found).
    """

    def __init__(self, what: str, *, details: Mapping[str, Any] | None = None, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.details = dict(details or {})


class RunNotFound(TrackingError, LookupError):
    """The tracking server responded that there is no such run."""

    exit_code = 2


class IncompleteRecord(TrackingError):
    """A link was logged in params, tags and dataset inputs, but the artifacts of its record could not be written."""


class InputConflict(TrackingError):
    """The run already has another version in this role. MLflow does not allow params to be changed."""

    exit_code = 2
