"""What long work tells about itself while it runs, and a bar that shows it to a person.

Work reports to a `Progress`; it neither knows nor asks whether anybody looks. `terminal` draws a bar on standard
error when that is a terminal, and stays silent in a pipe, a log or a notebook's kernel. rich is imported only
when a bar is drawn; it honours NO_COLOR by itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from mlflow_dsver import settings
from mlflow_dsver.deadlines import Deadline


class Progress(Protocol):
    """Takes reports of long work. Calls may come from several threads at once."""

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        """How much there is to do in all; None for unknown. May be called again when more is known."""

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        """So many more files and bytes are done."""


class _Silent:
    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        pass

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        pass


SILENT: Progress = _Silent()
"""Reports to nobody."""


class UntilLate:
    """Ends work that nobody waits for any more: each report raises DeadlineExceeded when the deadline is over."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        """Look at the clock."""
        self._deadline.check("reading files")

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        """Look at the clock."""
        self._deadline.check("reading files")


@contextmanager
def terminal(label: str) -> Iterator[Progress]:
    """A bar with files, bytes, rate and elapsed time on standard error, gone from the screen when the block ends.

    Silent when standard error is no terminal, or when the setting PROGRESS is `no`.
    """
    if not sys.stderr or not sys.stderr.isatty() or settings.setting("PROGRESS") in ("no", "0", "off", "false"):
        yield SILENT
        return
    from mlflow_dsver.content.progress_bar import progress_bar

    with progress_bar(label) as shown:
        yield shown
