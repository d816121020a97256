"""The command line for tests: in this process, in one of its own, and on a terminal.

`run` is for what a command does and says. `process` and `on_terminal` are for what only a process has: signals,
pipes, terminals, an exec, what is read from the environment when Python starts or a module is imported.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from prepared import Prepared

SCRIPT = str(Path(sys.executable).with_name("mlflow-dsver"))
"""The installed console script."""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("versions", "list")`: what the command in this process gives and shows; no terminal, 100 wide.

    Keyword arguments are environment variables, but for `folder`, in which it runs.
    """

    def call(*arguments: str, folder: Path = tmp_path, **variables: str) -> subprocess.CompletedProcess[str]:
        with contextlib.chdir(folder):
            return in_process(*arguments, **variables)

    return call


def in_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """See `run`; in the present folder."""
    with _as_a_process({"COLUMNS": "100", **variables}) as (out, err):
        code = _command(arguments)
        out.flush(), err.flush()
    return subprocess.CompletedProcess(arguments, code, _shown(out), _shown(err))


@pytest.fixture
def process(tmp_path: Path, prepared: Prepared) -> Run:
    """As `run`, in a process of its own."""

    def call(*arguments: str, folder: Path = tmp_path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*prepared.python, "-m", "mlflow_dsver", *arguments],
            cwd=folder,
            env={**os.environ, "COLUMNS": "100", **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return call


@pytest.fixture
def on_terminal(tmp_path: Path, prepared: Prepared) -> Callable[..., tuple[int, str]]:
    """`on_terminal("versions", "delete", …, answer="y")`: exit code and what the terminal shows."""

    def call(*arguments: str, answer: str = "", **variables: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", **variables}
        process = subprocess.Popen(
            [*prepared.python, "-m", "mlflow_dsver", *arguments],
            cwd=tmp_path,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
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


def _command(arguments: tuple[str, ...]) -> int:
    from mlflow_dsver.cli import main
    from mlflow_dsver.resolution import resolver

    resolver.clear_resolutions()
    try:
        return main.run(list(arguments))
    except SystemExit as end:  # shell completion
        return int(end.code or 0)
    finally:
        resolver.clear_resolutions()


@contextlib.contextmanager
def _as_a_process(variables: dict[str, str]) -> Iterator[tuple[io.TextIOWrapper, io.TextIOWrapper]]:
    """Environment and streams of a process; what it changes of this one's state is as before afterwards."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    silenced = logging.root.manager.disable
    with (
        Path(os.devnull).open() as nothing,
        mock.patch.object(sys, "stdin", nothing),
        mock.patch.object(os, "execve", _no_exec),
        mock.patch.object(os, "execvpe", _no_exec),
        mock.patch.dict(os.environ, variables),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _mlflow_as_new(),
    ):
        try:
            yield out, err
        finally:
            logging.disable(silenced)


@contextlib.contextmanager
def _mlflow_as_new() -> Iterator[None]:
    """MLflow takes tracking store and experiment from the environment, not from what a test told it."""
    service = sys.modules.get("mlflow.tracking._tracking_service.utils")
    fluent = sys.modules.get("mlflow.tracking.fluent")
    with contextlib.ExitStack() as stack:
        if service is not None:
            stack.enter_context(mock.patch.object(service, "_tracking_uri", None))
        if fluent is not None:
            stack.enter_context(mock.patch.object(fluent, "_active_experiment_id", None))
        yield


def _no_exec(*_: object) -> None:
    raise AssertionError("that would replace the test's process; take the fixture `process`")


def _shown(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
