"""Downloads one file from an untrusted address that a service handed out.

Only https to public addresses is followed (to this machine when the service itself is here), with at most three
redirects, each checked anew; the connection goes to the IP address that was checked. The key is sent only to hosts
that `Signing` names. The download is bounded in bytes and in time. Nothing is unpacked here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.providers.http import session, wire
from mlflow_dsver.providers.http.public_hosts import NotPublic
from mlflow_dsver.secrets import Secret
from mlflow_dsver.text import one_line

MAX_REDIRECTS = 3
Signing = Callable[[str], tuple[str, Secret] | None]
"""Host, with its port where the address has one, to the scheme and key that may be sent there; None for no key."""


def no_key(host: str) -> None:
    """Send a key nowhere."""


def download(
    address: str,
    target: IO[bytes],
    *,
    provider: str,
    operation: str,
    reference: object = None,
    max_bytes: int,
    deadline: Deadline,
    signing: Signing = no_key,
    local: bool = False,
) -> str:
    """Write what lies at an address into `target`; gives the answer's media type, lower case, without parameters.

    local: the address may be on this machine. Raises UnexpectedResponse for an address that may not be followed and
    for more than max_bytes, ProviderUnavailable when no answer came or not in time, and by status for refusals.
    """
    parts: dict[str, Any] = {"provider": provider, "operation": operation, "reference": reference}
    for _ in range(MAX_REDIRECTS + 1):
        refusal = _why_not(address, local)
        if refusal:
            raise UnexpectedResponse(f"the address of the data {refusal}", got=one_line(_host(address), 80), **parts)
        host = _host(address)
        try:
            answer = session.fetch(address, target, signing(host), max_bytes=max_bytes, deadline=deadline)
        except NotPublic as error:
            raise UnexpectedResponse(f"the address of the data {error}", got=one_line(host, 80), **parts) from error
        except wire.MalformedResponse as error:
            raise UnexpectedResponse(f"no data from {host}", got=str(error), **parts) from error
        except session.NoAnswer as error:
            raise ProviderUnavailable(f"no data from {host}", got=str(error), **parts) from error
        if answer.location is None:
            return _accepted(answer, host, parts)
        address = _joined(address, answer.location)
    raise UnexpectedResponse(f"more than {MAX_REDIRECTS} redirects", **parts)


def _accepted(answer: session.Fetched, host: str, parts: dict[str, Any]) -> str:
    if answer.status == 200:
        return answer.media_type
    kind = wire.error_for(answer.status, wire.ApiError("no data"))
    raise kind(f"no data from {host}", status=answer.status, got=wire.excerpt(answer.words) or None, **parts)


def _host(address: str) -> str:
    try:
        return urlsplit(address).netloc.rpartition("@")[2]
    except ValueError:
        return "an address that cannot be read"


def _joined(address: str, location: str) -> str:
    try:
        return urljoin(address, location)
    except ValueError:
        return location


def _why_not(address: str, local: bool) -> str | None:
    """Why an address is not followed, as far as its text says; None when it may be asked for."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "cannot be read"
    if not address.isascii() or not address.isprintable() or set(address) & set(" \\"):
        return "has characters that no address has"
    if parts.username is not None or parts.password is not None:
        return "has a user or password in it"
    if wire.is_loopback(host):
        return None if local and parts.scheme in ("http", "https") else "is on this machine"
    return None if parts.scheme == "https" else "is not https"
