"""The wheel: what is in it, and that it works from an empty folder, without the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlflow_dsver import __version__

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel in it, and an empty folder to work in."""

    wheel: Path
    bin: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MLFLOW_DSVER_HOME": str(self.folder.parent / "home"), "PYTHONPATH": ""}
        command = [str(self.bin / program), *arguments]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built without the network, installed without dependencies; those of the test environment are lent to it."""
    place = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    wheel = next(place.glob("*.whl"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "venv")], check=True, timeout=60)
    python = place / "venv" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*install, "--disable-pip-version-check"], check=True, capture_output=True, timeout=120)
    own = next((place / "venv" / "lib").glob("python*/site-packages"))
    (own / "lent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (place / "empty").mkdir()
    return Installed(wheel, python.parent, place / "empty")


def test_the_wheel_holds_the_package_and_nothing_else(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"mlflow_dsver", f"mlflow_dsver-{__version__}.dist-info"}
    assert "mlflow_dsver/py.typed" in names
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "mlflow_dsver").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_command_works_from_an_empty_folder(installed: Installed) -> None:
    assert installed.run("mlflow-dsver", "--version").stdout == f"mlflow-dsver {__version__}\n"
    assert installed.run("python", "-m", "mlflow_dsver", "--version").stdout == f"mlflow-dsver {__version__}\n"
    data = installed.folder.parent / "data"
    data.mkdir(exist_ok=True)
    (data / "a.txt").write_text("a")
    made = installed.run("mlflow-dsver", "versions", "create", "local://a", str(data))
    assert made.returncode == 0, made.stderr
    assert made.stdout.split()[1] in installed.run("mlflow-dsver", "versions", "list").stdout


def test_the_wheels_own_code_runs_and_mlflow_finds_it(installed: Installed) -> None:
    code = (
        "import mlflow_dsver, mlflow.data.sources as s; from importlib.metadata import entry_points; "
        "print(mlflow_dsver.__file__); print(s.DatasetVersionSource.__module__); "
        "print(sorted(p.name for p in entry_points(group='mlflow_dsver.providers')))"
    )
    done = installed.run("python", "-c", code)
    where, source, providers = done.stdout.splitlines()
    assert Path(where).is_relative_to(installed.bin.parent), done.stderr
    assert source == "mlflow_dsver.tracking.source"
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert providers == str(sorted(declared["mlflow_dsver.providers"]))
