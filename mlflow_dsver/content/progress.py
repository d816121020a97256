"""Progress reports of long-running work, and a progress bar for terminals.

Work reports to a `Progress` and does not know whether anybody displays it. `terminal` draws a bar on standard error
when that is a terminal, and does nothing in a pipe, a log file or a notebook kernel.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Protocol

from mlflow_dsver import settings
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.text import one_line

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """Receives progress reports. Calls may come from several threads at once."""

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        """Set how much there is to do in all; None for unknown. May be called again when more is known."""

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        """Add to the number of files and bytes that are done."""


class _Silent:
    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        pass

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        pass


SILENT: Progress = _Silent()
"""Ignores all reports."""


class UntilLate:
    """Cancels work at a deadline: every report after it raises DeadlineExceeded."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        """Check the deadline."""
        self._deadline.check("reading files")

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        """Check the deadline."""
        self._deadline.check("reading files")


@contextmanager
def terminal(label: str) -> Iterator[Progress]:
    """A bar with files, bytes, rate and elapsed time on standard error, removed when the block ends.

    SILENT when standard error is not a terminal, or when the setting PROGRESS is `no`.
    """
    if not sys.stderr or not sys.stderr.isatty() or settings.setting("PROGRESS") in ("no", "0", "off", "false"):
        yield SILENT
        return
    from rich import progress as rich  # imported here as it takes 0.1 s; it respects NO_COLOR
    from rich.console import Console

    display = rich.Progress(
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TextColumn("{task.fields[counted]}", markup=False),
        rich.DownloadColumn(binary_units=True),
        rich.TransferSpeedColumn(),
        rich.TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with display:
        yield ProgressBar(display, one_line(label, 60))


class ProgressBar:
    """A `Progress` that is drawn: bytes move the bar, files are counted beside it."""

    def __init__(self, display: RichProgress, label: str) -> None:
        self._display = display
        self._task = display.add_task(label, total=None, counted="")
        self._lock = Lock()
        self._files = 0
        self._all_files: int | None = None

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        """Set the end of the bar."""
        with self._lock:
            self._all_files = files
            self._display.update(self._task, total=bytes, counted=self._counted())

    def advance(self, files: int, bytes: int) -> None:  # noqa: A002
        """Move the bar."""
        with self._lock:
            self._files += files
            self._display.update(self._task, advance=bytes, counted=self._counted())

    def _counted(self) -> str:
        of_all = "" if self._all_files is None else f"/{self._all_files:,}"
        return f"{self._files:,}{of_all} files"
