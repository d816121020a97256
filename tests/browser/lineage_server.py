"""A real MLflow server with the lineage pages, on a seeded store, and a browser to look at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)
NO_BROWSER = "no Chromium on this machine (Debian: apt-get install chromium)"
ARTIFACTS = Path(__file__).resolve().parents[2] / "test-artifacts"
ADMIN = ("admin", "password1234567")
HERE = Path(__file__).resolve().parent


def seeded(folder: Path, python: str = sys.executable) -> dict[str, Any]:
    """Seed a store in an empty folder, in a process of its own; gives what `lineage_world.World` knows, as JSON."""
    code = (
        "import json, sys, warnings; warnings.simplefilter('ignore')\n"
        "from pathlib import Path; from lineage_world import seed\n"
        "folder = Path(sys.argv[1]); world = seed(folder, f'sqlite:///{folder}/mlflow.db')\n"
        "told = {'digits': [str(each) for each in world.digits], 'hostile': str(world.hostile),\n"
        "        'hostile_run': world.hostile_run, 'runs': world.runs, 'experiments': world.experiments}\n"
        "(folder / 'world.json').write_text(json.dumps(told))\n"
    )
    done = subprocess.run(
        [python, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**_environment(folder), "PYTHONPATH": str(HERE)},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads((folder / "world.json").read_text()))


@contextmanager
def serving(
    folder: Path, *options: str, python: str = sys.executable, prefix: str = "", **environment: str
) -> Iterator[str]:
    """`mlflow server --app-name dsver` on the store of a folder; gives its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    address = f"http://127.0.0.1:{port}{prefix}"
    command = [python, "-m", "mlflow", "server", "--app-name", "dsver", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "served"), *options]
    if prefix:
        command += ["--static-prefix", prefix]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**_environment(folder), **environment},
            cwd=folder,
            start_new_session=True,
        )
        try:
            _wait(process, f"{address}/health", folder / "server.log")
            yield address
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait(15)


@contextmanager
def browsing() -> Iterator[Any]:
    """A Chromium of the system."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def login_file(folder: Path) -> dict[str, str]:
    """Variables that put MLflow's basic-auth in front: nobody may read anything unless told otherwise."""
    path = folder / "auth.ini"
    path.write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\n"
        f"database_uri = sqlite:///{folder}/auth.db\nadmin_username = {ADMIN[0]}\nadmin_password = {ADMIN[1]}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"  # MLflow 3: the slow hash of a password is computed once a minute
    )
    return {"MLFLOW_AUTH_CONFIG_PATH": str(path), "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key for tests"}


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "_MLFLOW_"))}
    variables = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**kept, **variables, "MLFLOW_DSVER_HOME": str(folder / "home")}


def _wait(process: subprocess.Popen[bytes], address: str, log: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"no server: {log.read_text()[-3000:]}")
