"""The hooks at the start and the end of a run, as configured by settings."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver import plugins
from mlflow_dsver.errors import InvalidArgument, SettingsError
from mlflow_dsver.tracking.run_hooks import run_is_ending

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
    assert "dsver.training.sealed" not in mlflow.get_run(run.info.run_id).data.tags  # no files were asked for
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


# What the process was given, by default


def edited(folder: Path) -> None:
    """As by a training script that shuffles labels in place."""
    folder.chmod(0o755)
    (folder / "labels.csv").chmod(0o644)
    (folder / "labels.csv").write_text("changed by training")


def start_with_inputs() -> tuple[str, Path]:
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        folder = run.datasets["training"].path()
        edited(folder)
    return run.info.run_id, folder


def use_in_a_run_of_mlflow() -> tuple[str, Path]:
    with mlflow.start_run() as run:
        folder = dsver.use("local://digits").path()
        edited(folder)
    return run.info.run_id, folder


def load_by_the_source_of_mlflow() -> tuple[str, Path]:
    run = dsver.start_run(inputs={"training": "local://digits"})
    [used] = run.inputs.dataset_inputs
    folder = Path(mlflow.data.get_source(used).load())
    edited(folder)
    mlflow.end_run()
    return run.info.run_id, folder


@pytest.mark.parametrize("reference", [False, True], ids=["kept", "referred to"])
@pytest.mark.parametrize("train", [start_with_inputs, use_in_a_run_of_mlflow, load_by_the_source_of_mlflow])
def test_files_that_were_given_out_and_changed_cost_the_run_its_grade_and_its_match(
    digits_folder: Path, train: Callable[[], tuple[str, Path]], reference: bool, caplog: pytest.LogCaptureFixture
) -> None:
    dsver.create_version("local://digits", digits_folder, reference=reference)
    run_id, _ = train()
    tags = mlflow.get_run(run_id).data.tags
    assert "changed: 1 file differs: 1 changed (labels.csv)" in tags["dsver.training.sealed"]
    assert tags["dsver.training.grade"] == "D (changed during the run)"
    assert "labels.csv" in caplog.text
    assert mlflow.get_run(run_id).info.status == "FINISHED"
    report = dsver.verify(run_id)
    assert str(report.verdict) == "CHANGED"
    assert str(report.inputs[0].grade) == "D (changed during the run)"


def test_files_that_were_given_out_and_left_alone_are_told_to_be_the_same(digits_folder: Path) -> None:
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        run.datasets["training"].path()
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert tags["dsver.training.sealed"].endswith("Z same")
    assert tags["dsver.training.grade"] == "A"
    assert dsver.verify(run.info.run_id)


def test_a_run_that_asked_for_no_files_is_not_looked_at(digits_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow_dsver.checks import seal

    monkeypatch.setattr(seal, "check_local_copies", None)
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    monkeypatch.setenv("MLFLOW_DSVER_SEAL", "off")
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        run.datasets["training"].path()
    assert "dsver.training.sealed" not in mlflow.get_run(run.info.run_id).data.tags


def test_a_copy_in_a_folder_of_the_callers_own_may_be_changed(digits_folder: Path, tmp_path: Path) -> None:
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        copy = Path(mlflow.data.get_source(run.inputs.dataset_inputs[0]).load(str(tmp_path / "mine")))
        (copy / "labels.csv").write_text("mine")
    assert mlflow.get_run(run.info.run_id).data.tags["dsver.training.grade"] == "A"


def test_the_end_of_a_run_does_not_wait_for_slow_checks(digits_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that was not checked in time is not reported as the same."""
    from mlflow_dsver.checks import seal

    stuck = threading.Event()
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        run.datasets["training"].path()
        link = run.datasets["training"].link
        monkeypatch.setattr(seal, "read_folder", lambda *_, **__: stuck.wait(60))
        [seen] = seal.check_local_copies(run.info.run_id, {"training": link}, seconds=0.01).inputs
        assert (seen.same, "not finished within" in (seen.reason or "")) == (None, True)
        monkeypatch.setattr(seal, "read_folder", lambda *_, **__: 1 / 0)
        stuck.set()
    tags = mlflow.get_run(run.info.run_id).data.tags
    assert "not checked: ZeroDivisionError" in tags["dsver.training.sealed"]
    assert tags["dsver.training.grade"] == "A"
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_a_look_ends_by_itself_when_its_time_is_over(digits_folder: Path) -> None:
    from mlflow_dsver.checks.reports import Depth
    from mlflow_dsver.checks.seal import _sealed
    from mlflow_dsver.content.progress import UntilLate
    from mlflow_dsver.deadlines import Deadline

    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        run.datasets["training"].path()
        seen = _sealed(run.datasets["training"].link, Depth.FULL, UntilLate(Deadline(0)))
    assert seen.same is None
    assert "not done within 0 seconds" in (seen.reason or "")


def test_a_hook_that_fails_at_the_end_of_a_run_keeps_no_other_from_running(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended: list[str] = []
    hooks = {
        "broken": EntryPoint("broken", "no_such_module:hook", plugins.RUN_END),
        "other": SimpleNamespace(load=lambda: ended.append),
    }
    monkeypatch.setattr(plugins, "run_end_hooks", lambda: hooks)
    run_is_ending("r1")
    assert ended == ["r1"]
    assert "run r1: the hook broken at its end failed" in caplog.text
