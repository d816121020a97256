"""Answers as they come, for services that speak no JSON: status, headers and bytes, after retries and within a time.

The rules are those of `session`: no redirect is followed, a body is read up to a limit and with a deadline for the
whole, what the service asks to repeat is repeated. Judging an answer is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.session import NoResponse, exchange, open_http, read_body

__all__ = ["Answer", "NoResponse", "ask", "open_client"]


class Answer(NamedTuple):
    """The status, headers (names in lower case) and body of an answer, not decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def open_client(base: str, at_once: int) -> requests.Session:
    """A client for many threads that keeps up to `at_once` connections open. base: decides about proxies alone."""
    http = open_http(local=wire.is_loopback(urlsplit(base).hostname or ""))
    http.headers.update({"Accept": "*/*", "Accept-Encoding": "identity"})
    for scheme in ("http://", "https://"):
        http.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=at_once))
    return http


def ask(
    http: requests.Session,
    method: str,
    url: str,
    headers: Callable[[], Mapping[str, str]],
    body: bytes = b"",
    *,
    seconds: float,
    limit: int,
) -> Answer:
    """The answer to an idempotent request; the last one, when the service goes on asking to repeat it.

    headers: made anew for each attempt, as signatures have a date. seconds: for all attempts. limit: bytes of a body.
    Raises NoResponse, whose message holds no header, and MalformedResponse for a body that is too large.
    """

    def read(response: requests.Response) -> Answer:
        found = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, found, read_body(response, deadline, limit))

    deadline, attempt = Deadline(seconds), 0
    while True:
        attempt += 1
        request = requests.Request(method, url, headers=dict(headers()), data=body or None, auth=_as_it_is)
        answer, failure, asked = None, None, None
        try:
            answer = exchange(http, request, deadline, read, secrets=[])
            asked = wire.retry_after(answer.headers.get("retry-after"))
            transient = answer.status in wire.RETRIED_STATUSES
        except NoResponse as error:
            failure, transient = error, error.transient
        wait = wire.wait_before(attempt, asked) if transient else None
        if wait is not None and wait < deadline.left():
            deadline.sleep(wait)
        elif answer is not None:
            return answer
        else:
            assert failure is not None
            raise failure


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without an `auth`, requests would put a password of .netrc in the place of a signature."""
    return request
