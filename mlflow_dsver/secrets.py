"""Secrets that cannot be printed by accident, and their removal from texts of others.

A key is a `Secret` from the moment it is read; only the line that puts it into a header says `reveal`.
"""

from __future__ import annotations

from collections.abc import Iterable

HIDDEN = "[hidden]"


class Secret:
    """A text whose repr, str and format show nothing; equal to another by value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself; for the header of a request and nothing else."""
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
    """The text with every secret in it replaced; secrets shorter than 4 characters are left, as they are words."""
    values = {secret.reveal() for secret in secrets if secret is not None}
    for value in sorted(values, key=len, reverse=True):  # else one that another begins with would show the rest of it
        if len(value) >= 4:
            text = text.replace(value, HIDDEN)
    return text
