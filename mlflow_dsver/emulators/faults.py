"""Deliberate failures of an emulator's requests, and their notation on a command line.

A fault is text: its kind, then options after colons, such as `429:retry-after=2:times=3` or `hang:on=/versions`.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_dsver.errors import SettingsError
from mlflow_dsver.text import one_line

KINDS: Mapping[str, str] = {
    "STATUS": "400 to 599: that status with the vendor's own error body; retry-after=SECONDS adds that header",
    "ok-error": "status 200 with the vendor's error body",
    "html": "status 403 with a page of a web firewall instead of JSON",
    "nonsense": "status 200 with text that is no JSON",
    "redirect": "status 302 to an address elsewhere",
    "bomb": "a small packed answer that unpacks to 64 MiB",
    "slow": "the right answer, after seconds=1",
    "hang": "no answer for seconds=3600, then the end",
    "drip": "the right answer, a byte each seconds=1",
    "drip-headers": "headers without end, a byte each seconds=1",
    "cut": "half of the right answer with the length of the whole, then the end",
    "cut-unsaid": "half of the right answer without a length, then the end",
    "reset": "the connection is reset without an answer, nothing is done",
    "lost": "what was asked is done, and the connection ends without an answer",
}
"""Kinds of faults, and what each does. Options of all: times=N (else for ever), verb=GET, on=PART of the path."""

_WORKS = frozenset({"slow", "drip", "cut", "cut-unsaid", "lost"})
_SECONDS = {"slow": 1.0, "hang": 3600.0, "drip": 1.0, "drip-headers": 1.0}
_PAGE = b"""<!DOCTYPE html><html><head><title>Access denied</title><style>body{color:red}</style></head>
<body><h1>Error 1010</h1><p>The owner of this website has banned your access.</p></body></html>"""


@dataclass(slots=True)
class Fault:
    """A deliberate failure. times: number of requests it still applies to; None for all.

    on: part of the path that a request must have. seconds: for kinds that take time. works: whether the request is
    processed although its response is not delivered intact. retry_after: that header, seconds or a date.
    """

    kind: str
    times: int | None = None
    verb: str | None = None
    on: str = ""
    seconds: float = 1.0
    retry_after: str | None = None

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read `kind[:option=value…]`; raises SettingsError for anything else."""
        kind, *options = text.split(":")
        if kind not in KINDS and not (kind.isdecimal() and 400 <= int(kind) <= 599):
            raise SettingsError(f"no fault is called {one_line(kind, 40)}", expected=", ".join(KINDS))
        fault = cls(kind, seconds=_SECONDS.get(kind, 0.0))
        for option in options:
            name, _, value = option.partition("=")
            try:
                fault._set(name, value)
            except ValueError as error:
                raise SettingsError(
                    f"fault {one_line(text, 80)}",
                    expected="times=NUMBER, verb=GET, on=PART, seconds=NUMBER or retry-after=SECONDS",
                    got=one_line(option, 40),
                ) from error
        return fault

    def _set(self, name: str, value: str) -> None:
        if name == "times":
            self.times = int(value)
        elif name == "seconds":
            self.seconds = float(value)
        elif name in ("verb", "on"):
            setattr(self, name, value)
        elif name == "retry-after":
            self.retry_after = value
        else:
            raise ValueError(name)

    @property
    def works(self) -> bool:
        """Whether the emulator still processes the request."""
        return self.kind in _WORKS

    def fits(self, verb: str, path: str) -> bool:
        """Whether this fault still applies to such a request."""
        return self.times != 0 and self.verb in (None, verb) and self.on in path

    def use(self) -> None:
        """Count one request."""
        if self.times is not None:
            self.times -= 1

    def instead(self) -> tuple[int, bytes | None, str, Mapping[str, str]]:
        """Status, body (None: the vendor's error body), media type and headers of the replacement response."""
        headers = {} if self.retry_after is None else {"Retry-After": self.retry_after}
        if self.kind.isdecimal():
            return int(self.kind), None, "", headers
        match self.kind:
            case "html":
                return 403, _PAGE, "text/html; charset=UTF-8", headers
            case "nonsense":
                return 200, b'{"items": [NaN, {"a": 1, "a": 2}', "application/json", headers
            case "redirect":
                return 302, b"", "text/plain", {"Location": "https://elsewhere.invalid/v1/datasets"}
            case "bomb":
                return 200, gzip.compress(b" " * (64 << 20), 9), "application/json", headers
        return 200, None, "", headers
