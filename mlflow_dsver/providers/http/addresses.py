"""Which network addresses data may be fetched from when a provider's answer names the place: public ones.

A name is looked up once, all of its numbers are judged, and the connection goes to these very numbers: a name server
that gives another number the second time changes nothing.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_TRANSLATED = IPv6Network("64:ff9b::/96")
"""Where IPv6 networks put the IPv4 internet (NAT64, RFC 6052)."""
_COMPATIBLE = IPv6Network("::/96")


class NotPublic(ValueError):
    """A host is not one of the public internet."""


def public_numbers(host: str, port: int) -> list[str]:
    """The numbers of a host, in the order in which they should be tried. Raises NotPublic, OSError, UnicodeError.

    One private number is enough to refuse them all.
    """
    found = [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not all(map(is_public, found)):
        raise NotPublic("is in a private network")
    return list(dict.fromkeys(found))


def is_public(number: str) -> bool:
    """Whether a number belongs to one host of the public internet; numbers inside numbers count too."""
    found = ip_address(number.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    return all(each.is_global and not each.is_multicast for each in (found, *_inside(found)))


def _inside(number: IPv4Address | IPv6Address) -> list[IPv4Address]:
    """IPv4 numbers that an IPv6 number leads to."""
    if isinstance(number, IPv4Address):
        return []
    teredo = number.teredo
    found = [number.sixtofour, teredo[1] if teredo else None]
    if number in _TRANSLATED or number in _COMPATIBLE:
        found.append(IPv4Address(int(number) & 0xFFFFFFFF))
    return [each for each in found if each is not None]
