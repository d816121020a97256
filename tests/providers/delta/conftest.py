"""Fixtures: a real table in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("deltalake", reason="the extra [delta] is not installed")
from lakes import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A table with versions 0 (three rows) and 1 (five rows)."""
    made = Lake(tmp_path / "lake")
    made.write([1, 2, 3])
    made.write([4, 5])
    return made
