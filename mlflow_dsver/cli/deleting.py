"""What is said before a version or a dataset is deleted: which runs use it, as far as MLflow can tell."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.cli import render
from mlflow_dsver.cli.output import PROGRAM, complain
from mlflow_dsver.errors import DsverError, TrackingError
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.text import error_line, human_count, one_line

SHOWN = 5
COUNTED = 100
"""Runs that are counted at most; with more, it is said that there are more."""
REACH_SECONDS = 10.0
"""How long the tracking server may take to answer at all."""


@dataclass(frozen=True, slots=True)
class Users:
    """Ids of runs that use something, newest first; more: there are others. unchecked: why MLflow could not tell."""

    runs: tuple[str, ...] = ()
    more: bool = False
    unchecked: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"runs": list(self.runs), "more_runs": self.more, "runs_unchecked": self.unchecked}


def say_users(ref: DatasetRef) -> Users:
    """Say on standard error which runs use a version, or any version of a dataset; or why that is not known."""
    users = _users(ref)
    if users.unchecked is not None:
        complain(f"whether runs use {ref} could not be checked: {users.unchecked}")
    elif users.runs:
        some = ", ".join(users.runs[:SHOWN]) + (", …" if len(users.runs) > SHOWN or users.more else "")
        count = f"more than {COUNTED} runs" if users.more else human_count(len(users.runs), "run")
        verb = "uses" if len(users.runs) == 1 and not users.more else "use"
        complain(f"{count} {verb} {ref}: {some}. Their records stay, and can no longer be checked against it")
    return users


def agreed(ref: DatasetRef, what: str) -> bool:
    """Ask on a terminal whether it is to be deleted; without one the answer is no. what: more words about it."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    import click

    print(f"{PROGRAM}: {render.cell(ref)}, {render.cell(what)}", file=sys.stderr)
    return click.confirm("Delete it?", default=False, err=True)


def _users(ref: DatasetRef) -> Users:
    try:
        from mlflow_dsver.tracking.health import exists, health
        from mlflow_dsver.tracking.history import recorded_uses

        if not exists():
            return Users()
        tracking = health(settings.seconds("TRACKING_TIMEOUT", REACH_SECONDS))
        if not tracking.ok:
            raise TrackingError(tracking.summary)
        runs: dict[str, None] = {}
        for use in recorded_uses(ref):
            runs[use.run_id] = None
            if len(runs) > COUNTED:
                break
    except DsverError as error:
        return Users(unchecked=one_line(error, 300))
    except Exception as error:  # noqa: BLE001  (MLflow missing or broken must not keep anybody from deleting)
        return Users(unchecked=error_line(error, 300))
    return Users(tuple(runs)[:COUNTED], len(runs) > COUNTED)
