"""A transport of requests that reaches public hosts only: looked up once, judged, and connected to by that number."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from mlflow_dsver.providers.http.addresses import public_numbers


class PublicOnly(requests.adapters.HTTPAdapter):
    """Connects to public numbers only; the host's name stays in the certificate's check, in SNI and in `Host`.

    Behind a proxy it is the proxy that looks names up and connects, so there a name that is private here is refused
    before the proxy hears of it, and the rest is up to the proxy.
    """

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
        """As of requests, with connections of ours for https."""
        super().init_poolmanager(*arguments, **named)
        self.poolmanager.pool_classes_by_scheme = {"https": _PublicPool}

    def send(self, request: requests.PreparedRequest, *arguments: Any, **named: Any) -> requests.Response:
        """As of requests; raises NotPublic."""
        proxies = named.get("proxies") or {}
        if requests.utils.select_proxy(request.url or "", proxies):
            parts = urlsplit(request.url or "")
            try:
                public_numbers(parts.hostname or "", parts.port or 443)
            except (OSError, UnicodeError):
                pass  # a name that only the proxy can look up
        return super().send(request, *arguments, **named)


class _PublicConnection(urllib3.connection.HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        """A connection to one of the host's numbers, looked up once and judged."""
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
