"""What keeps a folder from being hashed faithfully, gathered so that a person hears of all of it at once."""

from __future__ import annotations

import errno
from threading import Lock

from mlflow_dsver.errors import ContentError
from mlflow_dsver.text import one_line

MAX_NAMED = 1000
"""Paths that an error names in `paths` at most; its message names the first few and how many there are."""

_SHOWN = 5
_REASONS = {
    errno.EACCES: "no permission to read it",
    errno.EPERM: "no permission to read it",
    errno.ELOOP: "a symbolic link that leads round in a circle",
    errno.ENOENT: "removed while the folder was read",
    errno.ENOTDIR: "replaced while the folder was read",
}


class WalkErrors:
    """Gathers paths and reasons, from several threads, and becomes one ContentError."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reasons: list[tuple[str, str]] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, path: str, reason: str) -> None:
        """Note a path and what is wrong with it."""
        with self._lock:
            self._count += 1
            if len(self._reasons) < MAX_NAMED:
                self._reasons.append((path, reason))

    def raise_any(self, folder: object) -> None:
        """Raise ContentError when there is something to tell."""
        if not self:
            return
        reasons = sorted(self._reasons)
        told = ", ".join(f"'{one_line(path)}' ({reason})" for path, reason in reasons[:_SHOWN])
        more = f" and {self._count - _SHOWN:,} more" if self._count > _SHOWN else ""
        raise ContentError(
            f"{one_line(folder)} cannot be read faithfully: {told}{more}",
            paths=tuple(path for path, _ in reasons),
            tip="mend what is named, or leave it out by a pattern (.dsverignore, or exclude)",
        )


def reason(error: OSError) -> str:
    """Why a file could not be opened or read, in a few words."""
    return _REASONS.get(error.errno or 0) or one_line(error.strerror or error, 80)
