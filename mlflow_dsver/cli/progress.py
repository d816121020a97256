"""A bar for work that is counted in things and not in bytes: on standard error, for a terminal alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mlflow_dsver import settings


@contextmanager
def counted(label: str, total: int) -> Iterator[Callable[[], None]]:
    """Gives what is called for each thing that is done; the bar is gone when the block ends.

    Silent when standard error is no terminal, when there is one thing or none, or when the setting PROGRESS is `no`.
    """
    if total < 2 or not sys.stderr.isatty() or settings.setting("PROGRESS") in ("no", "0", "off", "false"):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as display:
        task = display.add_task(label, total=total)
        yield lambda: display.advance(task)
