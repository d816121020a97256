"""Reproducing a run in a folder; whatever is missing is reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from checks_samples import HOSTILE

import mlflow_dsver as dsver
from mlflow_dsver.checks.reproduce import Reproduced, ReproduceReport, State, readme, reproduce
from mlflow_dsver.cli.main import run as command
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.record.facts import Run


@pytest.fixture
def run_id(digits_folder: Path, tmp_path: Path, tracking: object) -> str:
    test = tmp_path / "test"
    test.mkdir()
    (test / "a.txt").write_text("a")
    dsver.create_version("local://digits", digits_folder)
    dsver.create_version("local://test", test, reference=True)
    inputs = {"training": "local://digits", "test": "local://test"}
    with dsver.start_run(inputs=inputs, run_name="fit", tags={"mlflow.source.git.commit": "c0ffee"}) as run:
        mlflow.log_param("rate", "0.1")
        mlflow.log_text("scikit-learn==1.5\n", "model/requirements.txt")
    return str(run.info.run_id)


def test_inputs_environment_params_and_readme_are_there(run_id: str, tmp_path: Path, digits_folder: Path) -> None:
    shutil.rmtree(digits_folder)
    folder = tmp_path / "again"
    report = reproduce(run_id, folder)
    assert (bool(report), report.exit_code) == (True, 0)
    for each in report.inputs:
        assert hash_folder(folder / "inputs" / each.role).digest == each.version.content_digest
    assert (folder / "environment/model/requirements.txt").read_text() == "scikit-learn==1.5\n"
    assert json.loads((folder / "params.json").read_text())["rate"] == "0.1"
    assert json.loads((folder / "record.json").read_text())["complete"] is True
    text = (folder / "README.md").read_text()
    assert "Complete: every input is here" in text
    assert "git checkout c0ffee" in text
    assert f'"training": "{report.inputs[1].version}"' in text


def test_what_could_not_be_got_is_said_first_and_wrong_files_are_not_left_there(run_id: str, tmp_path: Path) -> None:
    (tmp_path / "test" / "a.txt").write_text("b")
    for written in (tmp_path / "dsver-home" / "store" / "objects").rglob("*"):
        if written.is_file():
            written.unlink()
            break
    folder = tmp_path / "again"
    report = reproduce(run_id, folder)
    assert (bool(report), report.exit_code) == (False, 1)
    assert list((folder / "inputs").iterdir()) == []
    text = (folder / "README.md").read_text()
    assert text.index("INCOMPLETE") < text.index("## Data")
    assert json.loads((folder / "record.json").read_text())["complete"] is False


def test_a_folder_that_is_in_use_is_left_alone(run_id: str, tmp_path: Path) -> None:
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    with pytest.raises(InvalidArgument):
        reproduce(run_id, folder)
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_the_command(run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["reproduce", run_id, "--into", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out.startswith("complete")
    assert command(["reproduce", run_id, "--into", str(tmp_path / "again")]) == 2
    with mlflow.start_run() as bare:
        pass
    assert command(["reproduce", bare.info.run_id, "--into", str(tmp_path / "bare"), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["complete"] is False


def test_the_readme_is_as_the_golden_file_says(golden: Callable[[str, str], None]) -> None:
    version = DatasetVersion(parse("local://digits@3f9c2a7d11e05b64"), content_digest="blake3:" + "a" * 64)
    run = Run(
        "0" * 32,
        HOSTILE,
        "1",
        "demo",
        "FINISHED",
        datetime(2026, 11, 22, tzinfo=UTC),
        None,
        "x",
        params={"rate": "0.1", HOSTILE: "`", "dsver.training.version": "x"},
        tags={
            "mlflow.source.git.commit": "c0ffee; rm -rf /",
            "mlflow.source.name": "train.py",
            "mlflow.user": HOSTILE,
        },
        metrics={"loss": 0.25},
    )
    inputs = (
        Reproduced("training", "local://digits", version, State.VERIFIED, None, "inputs/training", 5, 371),
        Reproduced("test", "x", DatasetVersion(parse("local://t@1")), State.MISSING, f"gone {HOSTILE}"),
    )
    whole = ReproduceReport(run, Path("/again"), inputs[:1], ("model/requirements.txt",), ())
    partial = ReproduceReport(run, Path("/again"), inputs, (), ("the environment could not be read: down",))
    golden("checks/reproduce-complete.md", readme(whole))
    golden("checks/reproduce-incomplete.md", readme(partial))
