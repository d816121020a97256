"""One tree of errors, by meaning.

A message tells what failed, for which reference, what was expected, what came, what was done about it and
what to try; each part is also an attribute, so that programs need not parse text. No error carries a secret:
its parts go through `mlflow_dsver.secrets.redacted`, and whoever holds a key takes that out before (`redact`).

A mismatch found by a check is a value in a report and never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_dsver.os_names import encodable
from mlflow_dsver.secrets import redacted_parts


def _text(part: object | None) -> str | None:
    return None if part is None else encodable(str(part))


class DsverError(Exception):
    """Something failed; the root of all errors that this package raises on purpose.

    `exit_code` is what the command line ends with: 2 for wrong usage, 3 for "could not be done or checked".
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
    """A text is not a reference, or a role or tag not a legal one."""

    exit_code = 2


class InvalidArgument(DsverError, ValueError):
    """A message, metadata or another value given by the caller cannot be recorded as it is."""

    exit_code = 2


class SettingsError(DsverError, ValueError):
    """A setting cannot be used; the message names the variable or file, never a secret value."""

    exit_code = 2


class LockConflict(DsverError):
    """Inputs are not what the lock file says; `roles` names those concerned, sorted. A finding, not a failure."""

    exit_code = 1

    def __init__(self, what: str, *, roles: tuple[str, ...] = (), **parts: Any) -> None:
        super().__init__(what, **parts)
        self.roles = roles


class UnknownProvider(DsverError, LookupError):
    """No provider of that name is installed; the message lists those that are."""

    exit_code = 2


class ContentError(DsverError, OSError):
    """A folder cannot be hashed faithfully: missing, empty, unreadable, special files, or changing meanwhile.

    `paths` names the files concerned (relative to the folder), the first of them in the message as well.
    """

    exit_code = 2

    def __init__(self, what: str, *, paths: tuple[str, ...] = (), **parts: Any) -> None:
        super().__init__(what, **parts)
        self.paths = paths


class ProviderError(DsverError):
    """A provider could not do what was asked: which provider, which operation, which HTTP status if any.

    code, details: the provider's own error code, and what it says of fields or parameters, as it sent it; None where
    it says none. payload: the answer as it came, as far as it could be read; None where there was none.
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
    """The provider answered, and what was asked for does not exist there."""

    exit_code = 2


class AuthenticationFailed(ProviderError):
    """The provider does not accept the key, or none was given."""


class PermissionDenied(ProviderError, PermissionError):
    """The key is good, and this is not allowed with it."""


class RateLimited(ProviderError):
    """Too many requests; `retry_after` is in seconds, None when the provider did not say."""

    def __init__(self, what: str, *, retry_after: float | None = None, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.retry_after = retry_after


class ProviderUnavailable(ProviderError, ConnectionError):
    """No answer, or none within the deadline, or the provider says that it is broken."""


class UnexpectedResponse(ProviderError):
    """An answer that the contract does not know; `payload` keeps it."""


class Unsupported(ProviderError, NotImplementedError):
    """This provider cannot do that at all."""

    exit_code = 2


class StoreError(DsverError, OSError):
    """The local store cannot be read or written: full disk, read-only, missing permission, unknown format."""


class CorruptObject(StoreError):
    """Bytes in the store are not those that their name promises; they are never served."""


class TrackingError(DsverError):
    """MLflow refused, dropped or did not answer; the original error is `__cause__`.

    `details` holds what was seen, for a program: key to (expected, found).
    """

    def __init__(self, what: str, *, details: Mapping[str, Any] | None = None, **parts: Any) -> None:
        super().__init__(what, **parts)
        self.details = dict(details or {})


class RunNotFound(TrackingError, LookupError):
    """The tracking server answered, and there is no such run."""

    exit_code = 2


class IncompleteRecord(TrackingError):
    """A link is on its run in params, tags and dataset inputs, and the files of the record could not be written."""


class InputConflict(TrackingError):
    """A run has another version in that role already, and MLflow lets nobody change a param."""

    exit_code = 2
