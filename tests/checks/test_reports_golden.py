"""Every other report, as text and JSON, equals its golden file, and all text from outside is escaped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checks_samples import DIFFERENCE, HOSTILE, WHEN, entry

from mlflow_dsver.checks.bisect import BisectStep, step_json, step_lines
from mlflow_dsver.checks.compare import CompareReport, RoleComparison, Sameness, compare_json, compare_lines
from mlflow_dsver.checks.contains import ContainsReport, Holding, contains_json, contains_lines
from mlflow_dsver.checks.diff import DiffReport, OverlapReport, diff_json, diff_lines, overlap_json, overlap_lines
from mlflow_dsver.checks.manifest_index import IndexedUse
from mlflow_dsver.checks.reproduce import Reproduced, ReproduceReport, State, reproduce_lines
from mlflow_dsver.checks.seal import SealedInput, SealReport, seal_json, seal_lines, seal_tags
from mlflow_dsver.checks.table_diff import TableDifference
from mlflow_dsver.model.differences import Overlap
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.record.facts import Run

ONE = DatasetVersion(parse("local://digits@1111111111111111"), content_digest="blake3:" + "1" * 64)
TWO = replace(ONE, ref=parse("local://digits@2222222222222222"), content_digest="blake3:" + "2" * 64)
RUN = Run("a" * 32, "first", "1", "demo", "FINISHED", WHEN, None, "x")
OTHER = replace(RUN, run_id="b" * 32, name=HOSTILE)

DIFF = DiffReport(
    ONE,
    TWO,
    DIFFERENCE,
    (
        TableDifference("labels.csv", "id", 10, 12, 3, 1, 2, ("by",), ("old",), {"label": 2, HOSTILE: 1}),
        TableDifference(HOSTILE, failure="ParserError: no table"),
    ),
)
COMPARE = CompareReport(
    RUN,
    OTHER,
    (
        RoleComparison("eval", Sameness.SAME, ONE, ONE),
        RoleComparison("test", Sameness.ONLY_SECOND, None, TWO),
        RoleComparison("training", Sameness.OTHER, ONE, TWO, DIFFERENCE),
        RoleComparison("validation", Sameness.UNKNOWN, ONE, TWO, reason=HOSTILE.splitlines()[0]),
    ),
    {"rate": ("0.1", "0.2"), HOSTILE: (None, HOSTILE)},
    {"loss": ("0.25", None)},
)
OVERLAP = OverlapReport(
    {"training": ONE, "test": TWO, "eval": ONE},
    (Overlap("training", "test", ((entry("a.png"), entry(HOSTILE)),), 3),),
    {"eval": "no manifest of this version was found"},
)
USE = IndexedUse("a" * 32, "training", HOSTILE, "demo", WHEN.timestamp(), str(ONE))
CONTAINS = ContainsReport(
    "images/0007.png",
    (Holding("blake3:" + "1" * 64, (entry(HOSTILE),), (str(ONE),), (USE,), {"a" * 32: ("reader version 1",)}),),
    12,
    34567,
    ("paperspace://dst364npcw6ccok@fo5rp4m",),
    ("the tracking server: down",),
    WHEN,
)
SEAL = SealReport(
    "a" * 32,
    (
        SealedInput("training", ONE, Grade("A"), True),
        SealedInput("test", TWO, Grade("B", ("offline",)), False, difference=DIFFERENCE, paths=("a", HOSTILE)),
        SealedInput("eval", TWO, Grade("B"), None, "the provider does not keep the files on this machine"),
    ),
    WHEN,
)
REPRODUCED = ReproduceReport(
    RUN,
    Path("/again"),
    (
        Reproduced("training", "local://digits", ONE, State.VERIFIED, None, "inputs/training", 5, 371),
        Reproduced("test", "x", TWO, State.UNREACHABLE, "time-out"),
    ),
    (),
    ("the environment could not be read: down",),
)

TEXTS: dict[str, Iterable[str]] = {
    "diff": diff_lines(DIFF, 3),
    "compare": compare_lines(COMPARE, 3),
    "overlap": overlap_lines(OVERLAP),
    "contains": contains_lines(CONTAINS),
    "seal": seal_lines(SEAL),
    "seal-tags": (f"{key} = {value}" for key, value in seal_tags(SEAL).items()),
    "reproduce": reproduce_lines(REPRODUCED),
    "bisect-next": step_lines(BisectStep(ONE, TWO, replace(ONE, ref=parse("local://digits@3")), 5)),
    "bisect-answer": step_lines(BisectStep(ONE, TWO, None, 0)),
    "bisect-skipped": step_lines(BisectStep(ONE, TWO, None, 0, (ONE,))),
}
OBJECTS: dict[str, dict[str, Any]] = {
    "diff": diff_json(DIFF),
    "compare": compare_json(COMPARE),
    "overlap": overlap_json(OVERLAP),
    "contains": contains_json(CONTAINS),
    "seal": seal_json(SEAL),
    "bisect": step_json(BisectStep(ONE, TWO, None, 0, (ONE,))),
}
LINES = {name: list(lines) for name, lines in TEXTS.items()}


@pytest.mark.parametrize("name", LINES)
def test_text(name: str, golden: Callable[[str, str], None]) -> None:
    text = "".join(f"{line}\n" for line in LINES[name])
    golden(f"checks/{name}.txt", text)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert all("\n" not in line for line in LINES[name])


@pytest.mark.parametrize("name", OBJECTS)
def test_json(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"checks/{name}.json", json.dumps(OBJECTS[name], indent=2) + "\n")
    assert OBJECTS[name]["schema"] == 1
