"""The command as people run it: the installed console script in a process of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = str(Path(sys.executable).with_name("mlflow-dsver"))
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("versions", "list")`: the finished process, with its output as text. Without a terminal, 100 wide."""

    def call(*arguments: str, folder: Path = tmp_path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [SCRIPT, *arguments],
            cwd=folder,
            env={**os.environ, "COLUMNS": "100", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return call


@pytest.fixture
def on_terminal(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`on_terminal("versions", "delete", …, answer="y")`: exit code and what the terminal shows."""

    def call(*arguments: str, answer: str = "", **variables: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables}
        process = subprocess.Popen(
            [SCRIPT, *arguments], cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        if answer:
            os.write(ours, answer.encode() + b"\n")
        shown = b""
        while True:
            try:
                read = os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
            if not read:
                break
            shown += read
        os.close(ours)
        return process.wait(60), shown.decode()

    return call


@pytest.fixture
def made(run: Run, digits_folder: Path) -> str:
    """The canonical reference of `local://digits`, version one, tagged `raw`."""
    done = run("versions", "create", "local://digits", str(digits_folder), "-m", "first labels", "--tag", "raw")
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1]
