"""The demo: done twice, it does the right thing, and what it prints can be pasted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from processes import SCRIPT, Run
from servers import free_port


@pytest.fixture
def run(process: Run) -> Run:
    """In a process of its own, which another program takes over."""
    return process


@pytest.fixture
def own_things(tmp_path: Path) -> dict[str, str]:
    """Settings of the person, which must not reach into the demo."""
    return {
        "MLFLOW_RUN_ID": "0" * 32,
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        "MLFLOW_DSVER_HOME": str(tmp_path / "own-home"),
    }


@pytest.fixture
def told(run: Run, own_things: dict[str, str]) -> str:
    done = run("demo", "--folder", "there/demo", **own_things)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def facts(text: str) -> tuple[list[str], list[str], list[float]]:
    """Run ids, versions of the training data, accuracies, as the demo's end tells them."""
    runs = re.findall(r"^   run (\w{32})  accuracy ([\d.]+)$", text, re.MULTILINE)
    versions = re.findall(r"^      training +(\S+)", text, re.MULTILINE)
    return [run_id for run_id, _ in runs], versions, [float(accuracy) for _, accuracy in runs]


@pytest.mark.slow
def test_the_demo_twice_and_its_commands(run: Run, told: str, tmp_path: Path) -> None:
    """The versions come back, the runs are new; corrected labels make the better model; each line can be pasted.

    What is the person's own has no part in it, and nothing is left behind there.
    """
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    assert SCRIPT.rpartition("/")[0] in told or " mlflow-dsver " in told
    runs, versions, accuracies = facts(told)
    assert len(set(runs)) == len(set(versions)) == 2
    assert accuracies[1] > accuracies[0] + 0.05
    again = facts(run("demo", "--folder", "there/demo").stdout)
    assert again[1:] == (versions, accuracies)
    assert not set(again[0]) & set(runs)

    commands = re.findall(r"^   (?!#)(\S.*mlflow.*)$", told.partition("To see more")[2], re.MULTILINE)
    assert len(commands) == 4
    shown = [paste(command, tmp_path) for command in commands[:3]]
    assert [version for version in versions if version not in shown[0]] == []
    assert versions[1] in shown[1]
    assert versions[0] not in shown[1]
    assert runs[0] in shown[2]
    assert again[0][0] in shown[2]
    assert runs[1] not in shown[2]
    pages_answer(commands[3], tmp_path)

    inputs = json.loads(paste(f"{commands[1]} --json", tmp_path))["inputs"]
    assert {link["role"]: link["grade"] for link in inputs} == {"training": "A", "test": "A"}


def paste(command: str, folder: Path) -> str:
    """What a shell answers that has none of our settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=clean, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pages_answer(command: str, folder: Path) -> None:
    """MLflow's pages come up."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command} --port {port}"],
        cwd=folder,
        env={**clean, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                    assert answer.status == 200
                    return
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, "it ended"
                time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(15)
