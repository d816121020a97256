"""A real `mlflow server` on loopback, and what a test knows of the tracking store that it was given.

Apart from `conftest.py`, since a test that imports from a module of that name may get another folder's.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LONG = 30.0
"""Seconds. What is bounded ends well before, on a busy machine too; without its bound it takes minutes or forever."""


@dataclass(frozen=True)
class Tracking:
    """A tracking store that is set as MLflow's, and the experiment that is active in it."""

    uri: str
    experiment_id: str


class tracking_server:  # noqa: N801
    """`with tracking_server(folder, database_uri) as (address, process)`: a real `mlflow server` on loopback.

    options: of the command besides. variables: of its environment.
    """

    def __init__(
        self,
        folder: Path,
        database: str,
        *,
        python: str = sys.executable,
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts")]
        self._command += ["--workers", "1", *options]
        self._variables = variables or {}

    def __enter__(self) -> tuple[str, subprocess.Popen[bytes]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight more processes
        self._log = (self.folder / "server.log").open("wb")
        self.process = subprocess.Popen(
            self._command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**environment, **self._variables},
            cwd=self.folder,
            start_new_session=True,
        )
        self._wait()
        return self.address, self.process

    def _wait(self, seconds: float = 180) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.__exit__()
        raise RuntimeError(f"no server: {(self.folder / 'server.log').read_text()[-3000:]}")

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(15)
        self._log.close()


def free_port() -> int:
    """See `unused_port`."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
