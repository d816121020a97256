"""The bar that `progress.terminal` draws; apart from it, so that rich is loaded only when there is somebody to look.

Counts are taken under a lock, since work reports from several threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeElapsedColumn, TransferSpeedColumn
from rich.progress import Progress as Display

from mlflow_dsver.text import one_line


@contextmanager
def progress_bar(label: str) -> Iterator[ProgressBar]:
    """A bar on standard error as long as the block runs."""
    display = Display(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[counted]}", markup=False),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with display:
        yield ProgressBar(display, one_line(label, 60))


class ProgressBar:
    """A `Progress` that draws: bytes move the bar, files are counted beside it."""

    def __init__(self, display: Display, label: str) -> None:
        self._display = display
        self._task: TaskID = display.add_task(label, total=None, counted="")
        self._lock = Lock()
        self._files = 0
        self._all_files: int | None = None

    def total(self, files: int | None, bytes: int | None) -> None:  # noqa: A002
        """Set what the bar runs up to."""
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
