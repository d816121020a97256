"""The check at the end of a run whether its data changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.cli.main import run as command

pytestmark = pytest.mark.usefixtures("tracking")


def tags(run_id: str) -> dict[str, str]:
    return dict(mlflow.get_run(run_id).data.tags)


def test_untouched_data_is_sealed_as_the_same_and_keeps_its_grade(digits_folder: Path) -> None:
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        run.datasets["training"].path()
    for rehash in (False, True):
        report = dsver.seal(run.info.run_id, rehash=rehash)
        assert (bool(report), report.exit_code) == (True, 0)
    found = tags(run.info.run_id)
    assert found["dsver.training.sealed"].endswith("Z same")
    assert found["dsver.training.grade"] == "A"


def test_a_local_copy_that_training_wrote_to_is_tagged_with_its_paths(digits_folder: Path) -> None:
    """The store's objects are intact; the local copy that training read is not."""
    version = dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        folder = run.datasets["training"].path()
        (folder / "labels.csv").chmod(0o644)
        (folder / "labels.csv").write_text("shuffled in place")
        folder.chmod(0o755)
        (folder / "cache.bin").write_bytes(b"1")
    report = dsver.seal(run.info.run_id)
    assert report.exit_code == 1
    assert report.inputs[0].paths == ("cache.bin", "labels.csv")
    found = tags(run.info.run_id)
    assert "changed: 2 files differ: 1 changed, 1 added (cache.bin, labels.csv)" in found["dsver.training.sealed"]
    assert found["dsver.training.grade"] == "D (changed during the run)"
    assert dsver.verify(run.info.run_id, require="C").inputs[0].unmet
    assert dsver.verify(run.info.run_id).inputs[0].version == version.ref


def test_a_folder_that_is_referred_to_and_changes_is_found(digits_folder: Path) -> None:
    dsver.create_version("local://digits", digits_folder, reference=True)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        (digits_folder / "0" / "0.txt").unlink()
    assert dsver.seal(run.info.run_id, tag=False).inputs[0].paths == ("0/0.txt",)
    assert "dsver.training.sealed" not in tags(run.info.run_id)
    shutil.rmtree(digits_folder)
    assert dsver.seal(run.info.run_id).exit_code == 1


def test_what_cannot_be_looked_at_is_not_called_the_same(
    digits_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow_dsver.providers.local import LocalProvider

    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    monkeypatch.setattr(LocalProvider, "local_copy", lambda *_: None)
    report = dsver.seal(run.info.run_id)
    assert (report.inputs[0].same, report.exit_code) == (None, 3)
    assert "not checked" in tags(run.info.run_id)["dsver.training.sealed"]
    assert tags(run.info.run_id)["dsver.training.grade"] == "A"


def test_the_command(digits_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dsver.create_version("local://digits", digits_folder, reference=True)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    assert command(["seal", run.info.run_id, "--rehash"]) == 0
    assert capsys.readouterr().out.startswith("training: same")
    (digits_folder / "labels.csv").write_text("x")
    assert command(["seal", run.info.run_id, "--no-tag", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["inputs"][0]["paths"] == ["labels.csv"]
    with mlflow.start_run() as bare:
        pass
    assert command(["seal", bare.info.run_id]) == 3
