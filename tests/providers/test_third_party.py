"""A provider of another package: installed beside this one, it brings all its edges and touches nothing of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "third_party"
In = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh folder with the package installed in it."""
    target = tmp_path_factory.mktemp("third-party") / "plugins"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    install += ["--no-deps", "--no-build-isolation", "--target", str(target), str(PACKAGE)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    return target


@pytest.fixture
def inside(plugins: Path, tmp_path: Path) -> In:
    """`inside("-c", "…")`: Python with the package installed."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(plugins), "COLUMNS": "200", **variables}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    return run


def test_it_is_small_and_no_module_of_ours_names_it() -> None:
    sources = [*PACKAGE.rglob("*.py"), PACKAGE / "pyproject.toml"]
    assert sum(len(path.read_text().splitlines()) for path in sources) < 150
    ours = Path(__file__).parents[2] / "mlflow_dsver"
    assert not [path for path in ours.rglob("*.py") if "dsver_shelf" in path.read_text()]


def test_it_keeps_the_contract(inside: In, plugins: Path) -> None:
    test = plugins / "dsver_shelf" / "test_shelf.py"
    done = inside("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(plugins), str(test))
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_doctor_lists_and_checks_its_settings(inside: In) -> None:
    shown = inside("-m", "mlflow_dsver", "doctor").stdout
    line = next(each for each in shown.splitlines() if "MLFLOW_DSVER_SHELF_DRAFTS" in each)
    assert "not set (yes: drafts are listed as well)" in line
    assert "shelf://" in shown
    done = inside("-m", "mlflow_dsver", "doctor", MLFLOW_DSVER_SHELF_DRAFTS="perhaps")
    line = next(each for each in done.stdout.splitlines() if "MLFLOW_DSVER_SHELF_DRAFTS" in each)
    assert (done.returncode, "PROBLEM" in line, "yes or no" in line) == (1, True, True)


def test_its_commands_are_ours(inside: In) -> None:
    assert "List the datasets on the shelf." in inside("-m", "mlflow_dsver", "--help").stdout
    assert "Has the shelf no dataset?" in inside("-m", "mlflow_dsver", "emulator", "shelf", "--list").stdout
    code = (
        "import os; from dsver_shelf.emulator import ShelfEmulator; from mlflow_dsver.cli.main import run\n"
        "with ShelfEmulator(seed=True) as shelf:\n"
        "    os.environ.update(shelf.variables)\n"
        "    print(run(['shelf']), run(['versions', 'show', 'shelf:cats#feature/x']))"
    )
    done = inside("-c", code)
    assert done.stdout.splitlines()[:2] == ["DATASET", "cats"], done.stderr
    assert "shelf://cats@beefed2" in done.stdout
    assert done.stdout.endswith("0 0\n")


def test_its_spelling_and_its_branches_are_references(inside: In) -> None:
    code = (
        "import sys; from mlflow_dsver import parse; ref = parse('shelf:cats#feature/x'); print(ref)\n"
        "assert parse(str(ref)) == ref == parse('shelf://cats@feature%2Fx')\n"
        "print('dsver_shelf.provider' in sys.modules, 'requests' in sys.modules)"
    )
    assert inside("-c", code).stdout == "shelf://cats@feature/x\nFalse False\n"
