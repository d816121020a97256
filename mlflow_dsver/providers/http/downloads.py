"""Downloads one file from an untrusted address, such as a service's response contains.

Only https to public IP addresses is allowed (also this machine when the service itself runs there), with at most
three redirects, each checked again. A host name is resolved once, all of its IP addresses are checked, and the
connection uses one of these: a name server that returns another address the second time (DNS rebinding) has no
effect. The key is sent only to hosts that `Signing` names. The download is bounded in bytes and in time. Nothing is
unpacked here.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import IO, Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.session import MAX_BODY, Authorization, NoResponse, exchange, open_http, read_body
from mlflow_dsver.secrets import Secret, redact
from mlflow_dsver.text import one_line

MAX_REDIRECTS = 3
Signing = Callable[[str], tuple[str, Secret] | None]
"""A host (with its port where the address has one) to the scheme and key to send to it; None to send no key."""

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""The prefix under which IPv6 networks map the IPv4 internet (NAT64, RFC 6052)."""
_COMPATIBLE = IPv6Network("::/96")


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
    """Write the file at an address to `target`; return its media type, in lower case without parameters.

    local: the address may be on this machine. Raises UnexpectedResponse for an address that may not be followed and
    for more than max_bytes, ProviderUnavailable without a response in time, and the error of the status otherwise.
    """
    parts: dict[str, Any] = {"provider": provider, "operation": operation, "reference": reference}
    for _ in range(MAX_REDIRECTS + 1):
        refusal = _refusal(address, local)
        if refusal:
            raise UnexpectedResponse(f"the address of the data {refusal}", got=one_line(_host(address), 80), **parts)
        host = _host(address)
        try:
            response = fetch(address, target, signing(host), max_bytes=max_bytes, deadline=deadline)
        except NotPublic as error:
            raise UnexpectedResponse(f"the address of the data {error}", got=one_line(host, 80), **parts) from error
        except wire.MalformedResponse as error:
            raise UnexpectedResponse(f"no data from {host}", got=str(error), **parts) from error
        except NoResponse as error:
            raise ProviderUnavailable(f"no data from {host}", got=str(error), **parts) from error
        if response.location is None:
            return _media_type(response, host, parts)
        address = _joined(address, response.location)
    raise UnexpectedResponse(f"more than {MAX_REDIRECTS} redirects", **parts)


def _media_type(response: Fetched, host: str, parts: dict[str, Any]) -> str:
    if response.status == 200:
        return response.media_type
    kind = wire.error_for(response.status, wire.ApiError("no data"))
    raise kind(f"no data from {host}", status=response.status, got=wire.excerpt(response.text) or None, **parts)


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


def _refusal(address: str, local: bool) -> str | None:
    """Why an address is not requested, judged by its text; None if it may be requested."""
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


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of `fetch`: the media type in lower case without parameters; for a status other than 200 the address
    of a redirect, if it is one, or the beginning of the body.
    """

    status: int
    media_type: str
    location: str | None = None
    text: str = ""


def fetch(
    address: str, target: IO[bytes], pair: tuple[str, Secret] | None, *, max_bytes: int, deadline: Deadline
) -> Fetched:
    """Send one GET and write the body to `target`; no redirect is followed. pair: scheme and key; None for no key.

    Connects to this machine where the address says so, else to public IP addresses only, those that were checked.
    Raises NoResponse for failures of the network, wire.MalformedResponse for more than max_bytes, NotPublic. No
    status raises.
    """
    scheme, key = pair or ("", None)

    def read(response: requests.Response) -> Fetched:
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.status_code == 200:
            read_body(response, deadline, max_bytes, target)
            return Fetched(200, media_type)
        if response.is_redirect:
            return Fetched(response.status_code, media_type, location=response.headers["Location"])
        text = redact(read_body(response, deadline, MAX_BODY)[:10_000].decode("utf-8", "replace"), [key])
        return Fetched(response.status_code, media_type, text=text)

    local = wire.is_loopback(urlsplit(address).hostname or "")
    with open_http(local=local) as http:
        if not local:
            http.mount("https://", PublicOnly())
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        request = requests.Request("GET", address, headers=headers, auth=Authorization(scheme, key))
        return exchange(http, request, deadline, read, secrets=[key])


class PublicOnly(requests.adapters.HTTPAdapter):
    """Connects to public IP addresses only; the certificate check, SNI and `Host` keep the host name.

    Behind a proxy, the proxy resolves names and connects. A name that resolves to a private address here is refused
    before it is sent to the proxy; the rest is up to the proxy.
    """

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """As in requests, with checked connections for https."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"https": _PublicPool}

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """As in requests; raises NotPublic."""
        proxies = named.get("proxies") or {}
        if requests.utils.select_proxy(request.url or "", proxies):
            parts = urlsplit(request.url or "")
            try:
                public_addresses(parts.hostname or "", parts.port or 443)
            except (OSError, UnicodeError):
                pass  # only the proxy can resolve this name
        return super().send(request, *arguments, **named)


class _PublicConnection(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        """A connection to one of the host's IP addresses, resolved once and checked."""
        failure: OSError = OSError("the host has no IP address")
        for address in _addresses(self):
            try:
                return urllib3.util.connection.create_connection(
                    (address, self.port), self.timeout, self.source_address, self.socket_options
                )
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise urllib3.exceptions.ConnectTimeoutError(self, f"no connection to {self.host}") from failure
        raise urllib3.exceptions.NewConnectionError(self, f"no connection: {failure}") from failure


def _addresses(connection: urllib3.connection.HTTPSConnection) -> list[str]:
    try:
        return public_addresses(connection.host, connection.port)
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(connection.host, connection, error) from error
    except UnicodeError as error:
        raise urllib3.exceptions.LocationParseError(connection.host) from error


class _PublicPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _PublicConnection


class NotPublic(wire.MalformedResponse):
    """A host is not on the public internet."""


def public_addresses(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order to try them. Raises NotPublic, OSError, UnicodeError.

    One private address is enough to refuse them all.
    """
    found = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not all(map(is_public, found)):
        raise NotPublic("is in a private network")
    return list(dict.fromkeys(found))


def is_public(address: str) -> bool:
    """Whether an address is of a single host on the public internet; embedded IPv4 addresses are checked too."""
    found = ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return all(each.is_global and not each.is_multicast for each in (found, *_embedded(found)))


def _embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """IPv4 addresses that an IPv6 address embeds."""
    if isinstance(address, IPv4Address):
        return []
    teredo = address.teredo
    found = [address.sixtofour, teredo[1] if teredo else None]
    if address in _TRANSLATED or address in _COMPATIBLE:
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]
