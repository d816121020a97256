"""Formats measurements as tables of text. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

Measured = Mapping[str, Mapping[str, list[float] | str]]
"""Folder's title -> row -> seconds of each repetition, or why it was not measured."""


@dataclass(frozen=True)
class Goal:
    """A ratio with an upper bound: the time of a row, divided by the minimum of other rows' times."""

    text: str
    folders: tuple[str, ...]
    row: str
    beside: tuple[str, ...]
    bound: float


_FIRST = "ours: hash, first"
_PEERS = ("dvc add, first", "wandb add_dir, first")
_CORES = ("read + BLAKE3, a core a file", "read + BLAKE3, all cores a file")
_ALL = ("small", "mixed", "large")
GOALS = (
    Goal("hashed first ≤ 1.5 × plain loop", ("small",), _FIRST, ("plain loop",), 1.5),
    Goal("hashed first < 1/3 of the fastest peer", ("small",), _FIRST, _PEERS, 1 / 3),
    Goal("hash unchanged ≤ 2 × walk and stat", ("small",), "ours: hash, unchanged", ("walk and stat",), 2.0),
    Goal("large files ≥ 80 % of all cores' rate", ("large",), _FIRST, _CORES, 1 / 0.8),
    Goal("version first < 1/2 of dvc add", _ALL, "ours: version, first", ("dvc add, first",), 0.5),
    Goal("version unchanged < 1/2 of dvc add", _ALL, "ours: version, unchanged", ("dvc add, unchanged",), 0.5),
)


def middle(values: list[float] | str | None) -> float | None:
    """The median; None if nothing was measured."""
    return statistics.median(values) if isinstance(values, list) and values else None


def times(measured: Measured) -> str:
    """A row for each subject: median seconds, and the range of the repetitions in brackets."""
    rows = list(dict.fromkeys(row for folder in measured.values() for row in folder))
    lines = [["seconds, median (least–most)", *measured]]
    for row in rows:
        lines.append([row, *(_cell(folder.get(row)) for folder in measured.values())])
    return aligned(lines)


def ratios(measured: Measured, titles: Mapping[str, str]) -> str:
    """Each goal with its ratio and whether it was met."""
    lines = [["goal", "folder", "ratio", "bound", ""]]
    for goal in GOALS:
        for name in goal.folders:
            ratio = ratio_of(goal, measured.get(titles[name], {}))
            status = "not measured" if ratio is None else "met" if ratio <= goal.bound else "MISSED"
            shown = "–" if ratio is None else f"{ratio:.2f}"
            lines.append([goal.text, titles[name], shown, f"{goal.bound:.2f}", status])
    return aligned(lines)


def ratio_of(goal: Goal, folder: Mapping[str, list[float] | str]) -> float | None:
    """The ratio of medians; None if one side was not measured."""
    own = middle(folder.get(goal.row))
    others = [value for value in (middle(folder.get(row)) for row in goal.beside) if value is not None]
    return own / min(others) if own is not None and others else None


def aligned(lines: list[list[str]]) -> str:
    """Columns of equal width, the first aligned left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(values: list[float] | str | None) -> str:
    seconds = middle(values)
    if seconds is None or not isinstance(values, list):
        return values if isinstance(values, str) else "–"
    return f"{seconds:.3f} ({min(values):.3f}–{max(values):.3f})"
