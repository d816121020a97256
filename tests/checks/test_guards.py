"""What a run is told at its start and looks at again at its end, as settings say."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.errors import InvalidArgument, SettingsError

pytestmark = pytest.mark.usefixtures("tracking")


@pytest.fixture
def inputs(digits_folder: Path, tmp_path: Path) -> dict[str, str]:
    """Training and test share the bytes of one file."""
    test = tmp_path / "test"
    test.mkdir()
    (test / "leaked.txt").write_bytes((digits_folder / "0" / "0.txt").read_bytes())
    dsver.create_version("local://digits", digits_folder)
    dsver.create_version("local://test", test)
    return {"training": "local://digits", "test": "local://test"}


def test_files_in_two_roles_are_told_at_run_start(inputs: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with dsver.start_run(inputs=inputs):
        pass
    assert "1 file of test (of 1; 80 B) is in training as well, such as leaked.txt (training: 0/0.txt)" in caplog.text


def test_by_policy_they_stop_the_run_before_it_starts(
    inputs: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_OVERLAP", "raise")
    with pytest.raises(InvalidArgument, match=r"leaked\.txt"):
        dsver.start_run(inputs=inputs)
    assert mlflow.search_runs(output_format="list") == []
    monkeypatch.setenv("MLFLOW_DSVER_OVERLAP", "off")
    with dsver.start_run(inputs=inputs):
        pass
    assert "leaked.txt" not in caplog.text
    monkeypatch.setenv("MLFLOW_DSVER_OVERLAP", "perhaps")
    with pytest.raises(SettingsError):
        dsver.start_run(inputs=inputs)


def test_a_run_is_sealed_when_its_block_ends(
    digits_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dsver.create_version("local://digits", digits_folder, reference=True)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    assert "dsver.training.sealed" not in mlflow.get_run(run.info.run_id).data.tags
    monkeypatch.setenv("MLFLOW_DSVER_SEAL", "stat")
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        (digits_folder / "labels.csv").write_text("changed by training")
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert "changed" in tags["dsver.training.sealed"]
    assert tags["dsver.training.grade"].startswith("D (")
    assert "labels.csv" in caplog.text
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_a_seal_that_fails_ends_no_training(
    digits_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dsver.create_version("local://digits", digits_folder)
    monkeypatch.setenv("MLFLOW_DSVER_SEAL", "sometimes")
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    assert "was not sealed" in caplog.text
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"
