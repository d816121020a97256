"""Runs `end_to_end.py` with every supported MLflow and Python, one line a combination; code 1 if one fails.

And runs two files of tests on the oldest MLflow: those of the lineage pages behind a login, with the pytest of the
Python it runs on, and those of MLflow's private parts, inside the environment.

Makes a virtual environment for each, with pip and a network or pip's cache, and keeps them in `build/matrix` (or
`--folder`) for the next time; `--prepare` makes them and runs nothing. A Python that this machine does not have is
reported, and fails only with `--strict`.

`--next` does the same with the newest MLflow instead, pre-releases and major versions included that this package does
not take yet, and installs it anew each time.

    python tests/compat/matrix.py [--next] [--only WORD] [--folder FOLDER] [--strict] [--prepare]
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
STORY = Path(__file__).with_name("end_to_end.py")
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class Environment:
    """A virtual environment: which Python, and what is installed beside this package.

    newest: upgrade the packages each time, whatever MLflow this package says it takes.
    """

    name: str
    python: str
    packages: tuple[str, ...]
    newest: bool = False


OLD = Environment(
    "mlflow 2.22.5",
    "3.11",
    (
        "mlflow==2.22.5",
        "sqlalchemy<2.1",  # it does not start with 2.1
        "flask-wtf>=1.2",  # its basic-auth
        "pytest>=8.2",
    ),
)
NEW = Environment("mlflow 3.x", "3.11", ("mlflow>=3,<4",))
SKINNY = Environment("mlflow-skinny", "3.11", ())
ON_312 = Environment("mlflow 3.x on 3.12", "3.12", ("mlflow>=3,<4",))
ON_313 = Environment("mlflow 3.x on 3.13", "3.13", ("mlflow>=3,<4",))

NEXT = Environment("mlflow next", HERE, ("mlflow>=3.0.0rc0", "pytest>=8.2"), newest=True)
"""Naming a pre-release lets pip take those of MLflow, and of no other package, as `--pre` would."""

COMBINATIONS: tuple[tuple[Environment, str | Environment], ...] = (
    (OLD, "sqlite"),
    (OLD, "files"),
    (OLD, OLD),
    (OLD, "pages behind a login"),
    (OLD, "private parts"),
    (NEW, "sqlite"),
    (NEW, NEW),
    (NEW, OLD),
    (OLD, NEW),
    (SKINNY, NEW),
    (SKINNY, OLD),
    (ON_312, "sqlite"),
    (ON_312, ON_312),
    (ON_313, "sqlite"),
    (ON_313, ON_313),
)
"""Who tells the story, and to what store: a file of SQLite, a folder of files, or the server of an environment.

`pages behind a login` is another story: a server with the lineage pages, and the browser tests on it. So is `private
parts`: one test for each part of MLflow that is not its public API.
"""


NEXT_COMBINATIONS: tuple[tuple[Environment, str | Environment], ...] = (
    (NEXT, "private parts"),
    (NEXT, "sqlite"),
    (NEXT, NEXT),
    (NEXT, OLD),
    (OLD, NEXT),
    (SKINNY, NEXT),
)
"""What `--next` runs; the private parts first, as a change of MLflow shows there by its name."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--next", action="store_true", help="the newest MLflow, pre-releases included")
    options.add_argument("--only", default="", help="combinations with this in their name")
    options.add_argument("--folder", type=Path, default=REPOSITORY / "build" / "matrix")
    options.add_argument("--strict", action="store_true", help="a Python that is missing is a failure")
    options.add_argument("--prepare", action="store_true", help="make the environments, run nothing")
    chosen = options.parse_args()
    combinations = NEXT_COMBINATIONS if chosen.next else COMBINATIONS
    wanted = {_name(*pair): pair for pair in combinations if chosen.only in _name(*pair)}
    needed = {each.name: each for pair in wanted.values() for each in pair if isinstance(each, Environment)}
    wheel = build(chosen.folder)
    pythons = {name: prepare(each, chosen.folder, wheel) for name, each in needed.items()}
    if chosen.prepare:
        return 0  # what is absent or failed is told, and counted, when the combinations run
    if NEXT.name in needed and not isinstance(pythons[NEXT.name], str):
        print(f"{NEXT.name} is {_mlflow_of(pythons[NEXT.name])}", flush=True)
    failed = False
    for name, (teller, store) in wanted.items():
        begun = time.monotonic()
        needs = [pythons[each.name] for each in (teller, store) if isinstance(each, Environment)]
        problems = [each for each in needs if isinstance(each, str)]
        if problems:
            absent = problems[0].startswith("absent")
            failed |= not absent or chosen.strict
            print(f"{'absent' if absent else 'FAILED'}  {name}: {problems[0]}", flush=True)
            continue
        ran = tell(pythons[teller.name], store if isinstance(store, str) else pythons[store.name])
        failed |= ran.returncode != 0
        output = (ran.stderr if ran.returncode else ran.stdout).strip().splitlines()
        telling = [line for line in output if ran.returncode == 0 or "Error" in line or "Exception" in line]
        last = telling[-1:] or output[-1:] or ["no output"]
        print(
            f"{'FAILED' if ran.returncode else 'ok':6}  {name}: {last[0]} ({time.monotonic() - begun:.0f} s)",
            flush=True,
        )
        if ran.returncode:
            print(ran.stderr[-6000:], file=sys.stderr, flush=True)
    return int(failed)


def _name(teller: Environment, store: str | Environment) -> str:
    return f"{teller.name} → {store if isinstance(store, str) else 'server of ' + store.name}"


def build(folder: Path) -> Path:
    """The wheel of this package as it is now, for all environments."""
    place = folder / "wheel"
    shutil.rmtree(place, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", place, REPOSITORY], check=True)
    return next(place.glob("*.whl"))


def prepare(environment: Environment, folder: Path, wheel: Path) -> Path | str:
    """The environment's interpreter, with the package as it is now; or why there is none."""
    base = find_python(environment.python)
    if base is None:
        return f"absent: Python {environment.python} is not on this machine"
    place = folder / environment.name.replace(" ", "-")
    python = place / "bin" / "python"
    if not python.exists():
        made = subprocess.run([base, "-m", "venv", place], capture_output=True, text=True)
        if made.returncode:
            return f"no virtual environment: {made.stderr.strip()[-300:]}"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    packages = [*environment.packages, wheel]
    if environment.newest:
        packages = ["--upgrade", *environment.packages, *_other_dependencies()]
    for arguments in (packages, ["--force-reinstall", "--no-deps", wheel]):
        done = subprocess.run([*pip, *arguments], capture_output=True, text=True)
        if done.returncode:
            return f"not installed: {done.stderr.strip()[-600:]}"
    return python


def _other_dependencies() -> list[str]:
    """What this package needs besides MLflow."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return [each for each in project["dependencies"] if not each.startswith("mlflow")]


def _mlflow_of(python: Path | str) -> str:
    code = "from importlib.metadata import version; print('mlflow', version('mlflow'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def find_python(version: str) -> str | None:
    """An interpreter of that version: this one, one on the path that works, or one of pyenv's."""
    if version == HERE:
        return sys.executable
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(map(str, root.glob(f"{version}.*/bin/python")), reverse=True),
    ]
    for candidate in filter(None, candidates):
        asked = subprocess.run(
            [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True
        )
        if asked.stdout.decode().strip() == version:
            return candidate
    return None


def tell(python: Path | str, store: Path | str) -> subprocess.CompletedProcess[str]:
    """Run the story in a folder of its own. store: a word of those above, or the Python of a server's environment."""
    if store == "pages behind a login":
        return _pages(python)
    if store == "private parts":
        return _private_parts(python)
    with tempfile.TemporaryDirectory(prefix="matrix-") as name:
        folder = Path(name)
        if store == "sqlite":
            return _story(python, f"sqlite:///{folder}/mlflow.db", folder)
        if store == "files":
            return _story(python, (folder / "mlruns").as_uri(), folder)
        with _server(store, folder) as address:
            return _story(python, address, folder)


def _story(python: Path | str, uri: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [python, STORY, uri, folder / "story"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=_environment(), cwd=folder)


def _pages(python: Path | str) -> subprocess.CompletedProcess[str]:
    """The tests on a server of that environment; what they print counts as an error when one fails."""
    tests = REPOSITORY / "tests" / "browser" / "test_lineage_behind_a_login.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "2.22", tests]
    environment = {**_environment(), "DSVER_PYTHON_MLFLOW_2": str(python)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env=environment, cwd=REPOSITORY)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout, done.stdout + done.stderr)


def _private_parts(python: Path | str) -> subprocess.CompletedProcess[str]:
    """The tests of MLflow's private parts, which need nothing of the other tests."""
    tests = REPOSITORY / "tests" / "tracking" / "test_mlflow_private.py"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", "-c", os.devnull, tests]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=_environment(), cwd=REPOSITORY)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout, done.stdout + done.stderr)


@contextmanager
def _server(python: Path | str, folder: Path) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/server.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    with (folder / "server.log").open("wb") as log:
        path = f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # 2.x calls gunicorn by its name
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**_environment(), "PATH": path}, start_new_session=True
        )
        try:
            _wait(f"http://127.0.0.1:{port}", process, folder / "server.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(30)


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"no server: {log.read_text()[-2000:]}")


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    return {**kept, "MLFLOW_DISABLE_TELEMETRY": "true"}


if __name__ == "__main__":
    sys.exit(main())
