"""Dates and times as selectors of tables: `@2026-12-01`, `@2026-12-01T06:30:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.refs import DatasetRef

_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ].{1,40})?\Z")


def is_date(selector: str) -> bool:
    """Whether a selector looks like a date or time."""
    return _DATE.match(selector) is not None


def moment_of(ref: DatasetRef) -> datetime:
    """The date or time of a selector, of UTC where it names no zone; a date is its first moment. Raises NotFound."""
    try:
        found = datetime.fromisoformat(ref.selector or "")
    except ValueError:
        raise NotFound(
            "not a date or time",
            provider=ref.provider,
            operation="resolve",
            reference=ref,
            expected="as 2026-12-01, or 2026-12-01T06:30:00Z",
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
