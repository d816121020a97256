"""Holds: reasons for which a store must keep a version, such as a run that used it.

A reason is `run:<run id>`, `model:<name>/<version>`, `lock:<path of a lock file>` or `note:<text>`. Runs and models
belong to a tracking server, since ids of another one say nothing here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.json_values import date_text, date_value
from mlflow_dsver.text import one_line

KINDS = ("run", "model", "lock", "note")
MAX_REASON = 500
"""Characters of a reason at most."""
_REASON = re.compile(r"(run|model|lock|note):(.+)\Z")


@dataclass(frozen=True, slots=True, order=True)
class Hold:
    """One reason to keep a version. server: the tracking server of a run or model; None for other kinds.

    since, by: when the hold was put and by whom; None for one that was not put yet. They do not count in comparisons.
    """

    reason: str
    server: str | None = None
    since: datetime | None = field(default=None, compare=False)
    by: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not _REASON.match(self.reason) or not self.reason.isprintable() or len(self.reason) > MAX_REASON:
            raise InvalidArgument(
                "not a reason to keep a version",
                expected=f"run:, model:, lock: or note: and a printable text, at most {MAX_REASON} characters",
                got=one_line(self.reason, 80),
            )

    @property
    def kind(self) -> str:
        """`run`, `model`, `lock` or `note`."""
        return self.reason.partition(":")[0]

    def __str__(self) -> str:
        kind, _, what = self.reason.partition(":")
        return what if kind == "note" else f"{kind} {what}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the date in ISO 8601, UTC."""
        data: dict[str, Any] = {"reason": self.reason}
        optional = {"server": self.server, "since": date_text(self.since), "by": self.by}
        return data | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hold:
        """Read what `to_json` returned. Raises ValueError for anything else."""
        reason, server, since, by = (data.get(name) for name in ("reason", "server", "since", "by"))
        if not isinstance(reason, str) or not all(
            each is None or isinstance(each, str) for each in (server, since, by)
        ):
            raise ValueError("a hold has a reason as text")
        return cls(reason, server, date_value(since) if since is not None else None, by)
