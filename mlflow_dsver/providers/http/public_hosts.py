"""Connections to public addresses only, for addresses that a service's response contains.

A host name is resolved once, all of its IP addresses are checked, and the connection uses one of these: a name server
that returns another address the second time (DNS rebinding) has no effect.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3


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
                public_numbers(parts.hostname or "", parts.port or 443)
            except (OSError, UnicodeError):
                pass  # only the proxy can resolve this name
        return super().send(request, *arguments, **named)


class _PublicConnection(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        """A connection to one of the host's IP addresses, resolved once and checked."""
        failure: OSError = OSError("the host has no number")
        for number in _numbers(self):
            try:
                return urllib3.util.connection.create_connection(
                    (number, self.port), self.timeout, self.source_address, self.socket_options
                )
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise urllib3.exceptions.ConnectTimeoutError(self, f"no connection to {self.host}") from failure
        raise urllib3.exceptions.NewConnectionError(self, f"no connection: {failure}") from failure


def _numbers(connection: urllib3.connection.HTTPSConnection) -> list[str]:
    try:
        return public_numbers(connection.host, connection.port)
    except socket.gaierror as error:
        raise urllib3.exceptions.NameResolutionError(connection.host, connection, error) from error
    except UnicodeError as error:
        raise urllib3.exceptions.LocationParseError(connection.host) from error


class _PublicPool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _PublicConnection


# Which addresses are public


_TRANSLATED = IPv6Network("64:ff9b::/96")
"""The prefix under which IPv6 networks map the IPv4 internet (NAT64, RFC 6052)."""
_COMPATIBLE = IPv6Network("::/96")


class NotPublic(ValueError):
    """A host is not on the public internet."""


def public_numbers(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the order to try them. Raises NotPublic, OSError, UnicodeError.

    One private address is enough to refuse them all.
    """
    found = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not all(map(is_public, found)):
        raise NotPublic("is in a private network")
    return list(dict.fromkeys(found))


def is_public(number: str) -> bool:
    """Whether an address is of a single host on the public internet; embedded IPv4 addresses are checked too."""
    found = ip_address(number.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return all(each.is_global and not each.is_multicast for each in (found, *_inside(found)))


def _inside(number: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """IPv4 addresses that an IPv6 address embeds."""
    if isinstance(number, IPv4Address):
        return []
    teredo = number.teredo
    found = [number.sixtofour, teredo[1] if teredo else None]
    if number in _TRANSLATED or number in _COMPATIBLE:
        found.append(IPv4Address(int(number) & 0xFFFFFFFF))
    return [each for each in found if each is not None]
