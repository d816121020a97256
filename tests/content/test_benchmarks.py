"""The benchmark runs; what it measures is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.folders import Shape, make
from benchmarks.table import GOALS, middle, ratio_of, ratios, times

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_it_runs_with_a_small_folder_and_writes_what_it_prints(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--small", "--repeat=1", "--only=small"]
    ran = subprocess.run(
        [*command, f"--folder={tmp_path / 'made'}", f"--json={tmp_path / 'report.json'}"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    (seconds,) = report["seconds"].values()
    for row in ("walk and stat", "plain loop", "ours: hash, first", "ours: hash, unchanged", "ours: version, first"):
        assert len(seconds[row]) == 1, row
        assert row in ran.stdout
    for peer in ("dvc add, first", "wandb add_dir, first"):
        assert seconds[peer] == "not installed" or isinstance(seconds[peer][0], float), seconds[peer]
    assert report["machine"]["file system"] != "unknown"
    assert report["imports"]["import mlflow_dsver"] > 0
    assert [
        entry.name for entry in (tmp_path / "made" / "small").iterdir() if entry.name not in ("data", "made")
    ] == []


def test_folders_are_the_same_every_time(tmp_path: Path) -> None:
    shape = Shape("tiny", "tiny", 3, 10, 2000)
    one, other = make(shape, tmp_path / "one"), make(shape, tmp_path / "other")
    files = sorted(path.relative_to(one) for path in one.rglob("*.bin"))
    assert len(files) == 3
    assert [(one / file).read_bytes() for file in files] == [(other / file).read_bytes() for file in files]


def test_figures_as_text() -> None:
    measured = {"f": {"plain loop": [2.0, 1.0, 9.0], "ours: hash, first": [3.0], "dvc add, first": "not installed"}}
    assert times(measured) == (
        "seconds, median (least–most)                    f\n"
        "plain loop                    2.000 (1.000–9.000)\n"
        "ours: hash, first             3.000 (3.000–3.000)\n"
        "dvc add, first                      not installed"
    )
    told = ratios(measured, {"small": "f", "mixed": "m", "large": "l"}).split("\n")
    assert told[1].split()[-3:] == ["1.50", "1.50", "met"]
    assert told[2].endswith("not measured")


def test_a_goal_compares_with_the_fastest_of_the_others() -> None:
    goal = GOALS[1]
    row = {goal.row: [1.0], goal.beside[0]: [8.0], goal.beside[1]: [2.0]}
    assert ratio_of(goal, row) == pytest.approx(0.5)
    assert ratio_of(goal, {}) is None
    assert middle("not installed") is None


@pytest.mark.slow
def test_what_linking_costs_is_measured_beside_bare_runs_and_the_recipe_by_hand() -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "tracking.py"
    command = [sys.executable, str(script), "--delays", "0", "--rounds", "2", "--trials", "0"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    for row in ("bare mlflow.start_run", "ours: dsver.start_run", "by hand, key by key", "by hand, batched"):
        assert row in ran.stdout


@pytest.mark.slow
def test_what_the_watch_costs_is_measured_with_and_without_it() -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "watch.py"
    command = [sys.executable, str(script), "--files", "600", "--rounds", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    for row in ("open and read, first epoch", "numpy.load, second epoch", "end of a run, no linked version"):
        assert row in ran.stdout
