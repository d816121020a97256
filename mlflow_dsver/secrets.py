"""Secrets that are not printed by accident, and the redaction of secrets in other libraries' texts.

A key is a `Secret` from the moment it is read; only the code that sets a header calls `reveal`. Errors of other
libraries, which may quote a whole request, are redacted: every error of this package redacts its parts, and
`safe_message` is for exceptions that are logged or shown as they are. (pydantic's SecretStr was measured and not
taken: it pickles the value in clear, and takes 0.1 s to import.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

HIDDEN = "[hidden]"
MAX_TEXT = 20_000
"""Characters of a text that are searched; the rest is cut off."""
MIN_LENGTH = 4
"""Characters from which a secret is replaced; shorter ones may be common words."""

_AUTHORITY = re.compile(r"://([^\s/?#'\"<>]{1,500}@)")
"""User and password of a URL; a reference such as `local://digits@latest` looks similar, so the scheme decides."""
_SQL = re.compile(r"(sql[A-Za-z0-9+]{0,20}://)[^\s'\"<>]{0,500}@", re.IGNORECASE)
"""As SQLAlchemy parses it: a password may have slashes and more than one @."""
_NETWORK = re.compile(
    r"(?<![A-Za-z0-9.+-])(?:https?|wss?|ftps?|sftp|ssh|git|svn|s3[an]?|gs|wasbs?|abfss?|hdfs|rediss?|amqps?|mongodb|ldaps?|smb|socks[45]h?"
    r"|oracle|databricks|snowflake|clickhouse|trino|cockroachdb)(?:\+[a-z0-9+]{1,20})?\Z",
    re.IGNORECASE,
)
_QUERY = re.compile(r"\?[^\s?'\"<>)=]{1,200}=[^\s'\"<>)]*")
_HEADER = re.compile(
    r"""(authorization|cookie|api[_-]key|apikey|x-amz-security-token)(["']?\s{0,3}[:=]\s{0,3}["']?)"""
    r"""((?:(?:Bearer|Basic|Key|Token)\s)?[^\s"',;&)]+)""",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"""(api_?key|access_?key|secret|signature|password|passwd|credential|token)(["']\s{0,3}:\s{0,3}["']?|["']?=["']?)"""
    r"""([^\s"',;&)]+)""",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(Bearer|Basic|Key|Token) (?=[A-Za-z._~+/-]{0,200}[0-9=])[A-Za-z0-9._~+/=-]{8,}")

_SUSPECT = re.compile(r"[=@:]|(?:Bearer|Basic|Key|Token) ")
"""Required by every pattern above; most texts do not match it."""

_sources: list[Callable[[], Iterable[str]]] = []


class Secret:
    """A text whose repr, str and format show nothing; equal to another by value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value; only for the header of a request."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> tuple[type, tuple[str]]:
        raise TypeError("a secret is not pickled")


def redact(text: str, secrets: Iterable[Secret | None]) -> str:
    """The text with every secret in it replaced, except those shorter than 4 characters."""
    values = {secret.reveal() for secret in secrets if secret is not None}
    for value in sorted(values, key=len, reverse=True):  # a secret may be a prefix of another
        if len(value) >= MIN_LENGTH:
            text = text.replace(value, HIDDEN)
    return text


def add_source(source: Callable[[], Iterable[str]]) -> None:
    """Register a function that returns values to be redacted, such as those of variables named as secrets."""
    _sources.append(source)


def redacted(text: str) -> str:
    """The text without what looks like a secret or is known to be one.

    Removed: user and password of a URL, the query of a URL, values after names such as `Authorization:` or
    `password=`, keys after `Bearer` and similar words, and the values of `add_source`. References are kept. Linear
    time; the text is cut at 20,000 characters.
    """
    return _redacted(text, _known())


def redacted_parts(*parts: object | None) -> tuple[str | None, ...]:
    """Several parts of one message as redacted texts; None stays None."""
    known = _known()
    return tuple(None if part is None else _redacted(str(part), known) for part in parts)


def _known() -> list[str]:
    """The values to be redacted, longest first: one may be a prefix of another."""
    values = {value for source in _sources for value in source() if len(value) >= MIN_LENGTH}
    return sorted(values, key=len, reverse=True)


def _redacted(text: str, known: list[str]) -> str:
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT] + "…"
    for value in known:
        text = text.replace(value, HIDDEN)
    if not _SUSPECT.search(text):
        return text
    text = _SQL.sub(rf"\1{HIDDEN}@", text)
    text = _AUTHORITY.sub(_without_user, text)
    text = _QUERY.sub(f"?{HIDDEN}", text)
    for named in (_HEADER, _NAMED):
        text = named.sub(rf"\1\2{HIDDEN}", text)
    return _BEARER.sub(rf"\1 {HIDDEN}", text)


def safe_message(error: BaseException) -> str:
    """The redacted message of another library's exception; its class name when it has none."""
    return redacted(str(error)) or type(error).__name__


def _without_user(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 31) : found.start()]
    network = _NETWORK.search(before)
    return f"://{HIDDEN}@" if network or ":" in found[1] else found[0]
