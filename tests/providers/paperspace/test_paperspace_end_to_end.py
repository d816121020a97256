"""The whole story over real HTTP, with a real `mlflow server` and the emulator: from a version made when a run
starts to the old run that still names the old version.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest

import mlflow_dsver as dsver
from mlflow_dsver.errors import DsverError
from mlflow_dsver.providers.paperspace import PaperspaceProvider
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.testing import paperspace_emulator

__all__ = ["paperspace_emulator"]

CATS = "dst364npcw6ccok"
SEEDED = pytest.mark.parametrize("paperspace_emulator", [{"seed": True}], indirect=True)


@SEEDED
def test_story(server: Any, paperspace_emulator: PaperspaceEmulator, caplog: pytest.LogCaptureFixture) -> None:
    """Create at run start, commit, link, list who used it, move the tag; the old run still names the old version."""
    caplog.set_level(logging.DEBUG)
    provider = PaperspaceProvider()
    with mlflow.start_run() as old:
        made = provider.create(
            CATS, message=f"made by run {old.info.run_id}", tags=("current",), metadata={"round": 1}
        )
        with pytest.raises(DsverError, match="not committed"):
            dsver.use(made.ref, role="training")
        paperspace_emulator.fill(CATS, made.id, 1_000_000)
        first = provider.commit(made)
        linked = dsver.use(f"paperspace://{CATS}@current", role="training")
        mlflow.log_metric("accuracy", 0.9, dataset=linked.dataset)
    assert str(linked) == str(first.ref)
    assert str(linked.grade) == "B"

    run = mlflow.get_run(old.info.run_id)
    assert run.data.params["dsver.training.version"] == str(first.ref)
    assert run.data.params["dsver.training.requested"] == f"paperspace://{CATS}@current"
    assert run.data.params["dsver.training.tags"] == "current"
    assert run.data.params["dsver.training.usage_bytes"] == "1000000"
    assert run.data.tags["dsver.training.grade"] == "B"
    assert [each.dataset.name for each in run.inputs.dataset_inputs] == [str(first.ref)]
    raw = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/dsver/training.json"))["version"]["raw"]
    assert raw["usageBytes"] == "1000000"

    second = provider.commit(provider.create(CATS, message="round 2", metadata={"round": 2}))
    provider.update(second, add_tags=("current",))
    with dsver.start_run(inputs={"training": f"paperspace://{CATS}@current"}) as new:
        assert str(new.datasets["training"]) == str(second.ref)

    assert [use.run_id for use in dsver.runs_using(str(first.ref))] == [old.info.run_id]
    assert [use.run_id for use in dsver.runs_using(f"{CATS}:current")] == [new.info.run_id]
    assert [str(link.version.ref) for link in dsver.inputs_of(old.info.run_id)] == [str(first.ref)]
    assert provider.get(CATS, first.id).tags == ()
    key = paperspace_emulator.good_key or ""
    everything = caplog.text + repr(run.to_dictionary()) + json.dumps(raw)
    for artifact in mlflow.artifacts.list_artifacts(run_id=old.info.run_id, artifact_path="dsver"):
        everything += (
            Path(mlflow.artifacts.download_artifacts(run_id=old.info.run_id, artifact_path=artifact.path))
            .read_bytes()
            .decode("latin-1")
        )
    assert "1000000" in everything
    assert key not in everything


@SEEDED
def test_uncommitted_version_is_linked_with_grade_d_when_asked_for(
    tracking: Any, paperspace_emulator: PaperspaceEmulator, caplog: pytest.LogCaptureFixture, monkeypatch: Any
) -> None:
    """By handing over the version itself, or by the setting; both are recorded as D."""
    made = PaperspaceProvider().create(CATS)
    with mlflow.start_run():
        assert str(dsver.use(made).grade) == "D (uncommitted)"
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_UNCOMMITTED", "link")
    with dsver.start_run(inputs={"training": made.ref}) as run:
        assert run.datasets["training"].grade.letter == "D"
    assert mlflow.get_run(run.info.run_id).data.tags["dsver.training.grade"].startswith("D")
    assert "IS NOT COMMITTED" in caplog.text


@SEEDED
def test_hashed_folder_is_recorded_with_grade_a(
    tracking: Any, paperspace_emulator: PaperspaceEmulator, tmp_path: Path
) -> None:
    """The content digest and the manifest are on the run, and the files are found again from the record."""
    folder = tmp_path / "cats"
    folder.mkdir()
    (folder / "a.txt").write_text("meow")
    provider = PaperspaceProvider()
    version = provider.commit(provider.create(CATS, folder, reference=True))
    paperspace_emulator.sizes[f"{CATS}:{version.id}"] = 4
    with dsver.start_run(inputs={"training": provider.identify(version, path=folder)}) as run:
        assert str(run.datasets["training"].grade) == "A"
        assert run.datasets["training"].path() == folder
    found = mlflow.get_run(run.info.run_id)
    assert found.data.params["dsver.training.content_digest"] == version.content_digest
    names = {each.path for each in mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="dsver")}
    assert "dsver/training.manifest.jsonl.gz" in names
    assert mlflow.data.get_source(found.inputs.dataset_inputs[0]).load() == str(folder)


@SEEDED
@pytest.mark.parametrize("fault", ["hang", "drip:seconds=0.5", "503", "nonsense", "lost"])
def test_service_that_fails_does_not_keep_a_run_from_training(
    tracking: Any, paperspace_emulator: PaperspaceEmulator, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """With the policy `warn`, the run starts within the bound, trains, and says what failed."""
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "2")
    paperspace_emulator.inject(fault)
    with dsver.start_run(inputs={"training": f"{CATS}:latest"}, on_error="warn") as run:
        mlflow.log_metric("accuracy", 0.9)
    found = mlflow.get_run(run.info.run_id)
    assert found.info.status == "FINISHED"
    assert "paperspace" in found.data.tags["dsver.training.error"]


@SEEDED
def test_the_same_from_another_process_by_the_command_line(
    tracking: Any, paperspace_emulator: PaperspaceEmulator
) -> None:
    """`runs` and `inputs` find what Python linked."""
    with dsver.start_run(inputs={"training": f"{CATS}:clean"}) as run:
        pass
    command = [sys.executable, "-m", "mlflow_dsver"]
    said = subprocess.run(
        [*command, "runs", f"{CATS}:clean", "--json"],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.info.run_id in said.stdout, said.stderr
    said = subprocess.run(
        [*command, "inputs", run.info.run_id], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert f"paperspace://{CATS}@fo5rp4m" in said.stdout, said.stderr


@SEEDED
def test_files_that_contradict_the_version_are_noted_on_the_run(
    tracking: Any, paperspace_emulator: PaperspaceEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the grade, although they are served with a warning; also where the answer comes from this host's cache."""
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.txt").write_text("meow")
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_PATHS", f"{CATS}={tmp_path / 'cats'}")
    monkeypatch.setenv("MLFLOW_DSVER_PAPERSPACE_HASH", "yes")
    for _ in range(2):
        with dsver.start_run(inputs={"training": f"{CATS}:clean"}) as run:
            assert run.datasets["training"].path() == tmp_path / "cats"
        found = mlflow.get_run(run.info.run_id)
        assert found.data.tags["dsver.training.grade"] == "B (files here have another size)"
        assert "dsver.training.content_digest" not in found.data.params
        assert dsver.inputs_of(run.info.run_id)[0].version.dataset_name == "cats"
