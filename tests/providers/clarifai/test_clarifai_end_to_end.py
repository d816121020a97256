"""The whole way over real HTTP: the emulator on one side, a real `mlflow server` on the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import mlflow
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.cli.main import cli
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.providers.clarifai import inputs
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator

PAT = "pat-0123456789abcdef"
PORTAL = "https://portal.example"


@pytest.fixture
def world(emulator: ClarifaiEmulator, server: Any, monkeypatch: pytest.MonkeyPatch) -> ClarifaiEmulator:
    """Everything by environment variables, as a training script has it; each version takes some readings."""
    for name, value in {**emulator.variables, "CLARIFAI_UI": PORTAL}.items():
        monkeypatch.setenv(name, value)
    emulator.switch("ready-reads", "3")
    return emulator


def artifact(run_id: str, name: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=run_id, artifact_path=f"dsver/{name}"))


def test_from_a_version_made_at_run_start_to_its_data_back(world: ClarifaiEmulator) -> None:
    version = dsver.create_version("clarifai://cats", message="before training", tags=["round-1"])
    with dsver.start_run(inputs={"training": version}) as run:
        records = list(inputs(run.datasets["training"].path()))
        mlflow.log_metric("inputs", len(records))
    run_id = run.info.run_id
    reference = f"clarifai://demo-user/demo-app/cats@{version.id}"
    page = f"{PORTAL}/demo-user/demo-app/datasets/cats/versions/{version.id}"

    stored = MlflowClient().get_run(run_id)
    params = stored.data.params
    assert params["dsver.training.version"] == reference
    assert params["dsver.training.tags"] == "round-1"
    assert params["dsver.training.usage_bytes"] == "unknown"
    assert params["dsver.training.inputs_count"] == "4"
    assert stored.data.tags["dsver.training.grade"] == "B"
    source = json.loads(stored.inputs.dataset_inputs[0].dataset.source)
    assert (source["reference"], source["url"]) == (reference, page)
    link = json.loads(artifact(run_id, "training.json").read_text())
    assert link["version"]["web_url"] == page
    assert link["version"]["counts"]["inputs_count"] == 4
    assert link["version"]["raw"]["status"]["code"] == 64015
    assert page in artifact(run_id, "card.md").read_text()

    assert [use.run_id for use in dsver.runs_using("clarifai://cats@round-1")] == [run_id]
    assert [str(each.version.ref) for each in dsver.inputs_of(run_id)] == [reference]
    folder = mlflow.data.get_source(stored.inputs.dataset_inputs[0]).load()
    assert [each["id"] for each in inputs(folder)] == [each["id"] for each in records]


def test_digest_of_an_export_that_was_fetched_during_the_run_is_added(world: ClarifaiEmulator) -> None:
    """With its manifest and the sum of that, so that a check can compare the files; the grade is what it was."""
    with dsver.start_run(inputs={"training": "clarifai://cats@v1", "test": "clarifai://cats@v2"}) as run:
        folder = run.datasets["training"].path()
    tags = MlflowClient().get_run(run.info.run_id).data.tags
    digest = hash_folder(folder).digest
    assert tags["dsver.training.loaded_digest"] == digest
    assert "dsver.test.loaded_digest" not in tags
    assert "training.manifest.jsonl.gz" in tags["dsver.training.artifacts"]
    with artifact(run.info.run_id, "training.manifest.jsonl.gz").open("rb") as stream:
        assert read_manifest(stream).digest == digest
    assert tags["dsver.training.grade"] == "B"

    report = {each.role: each for each in dsver.verify(run.info.run_id, depth="full").inputs}
    assert report["training"].verdict.name == "MATCH"
    (folder / "all" / "inputbatch_0_n2").chmod(0o644)
    (folder / "all" / "inputbatch_0_n2").write_text("other records")
    report = {each.role: each for each in dsver.verify(run.info.run_id, depth="full").inputs}
    assert report["training"].verdict.name == "CHANGED"


def test_latest_is_written_down_once_and_stays_what_it_was(world: ClarifaiEmulator) -> None:
    with dsver.start_run(inputs={"training": "clarifai://cats@latest", "validation": "clarifai://cats@clean"}) as run:
        pass
    newer = dsver.create_version("clarifai://cats", tags=["clean"])
    links = {link.role: link for link in dsver.inputs_of(run.info.run_id)}
    assert links["training"].version.id == "v2"
    assert links["training"].requested == "clarifai://cats@latest"
    assert links["validation"].version.id == "v1"
    assert dsver.resolve("clarifai://cats@clean").ref == newer.ref
    here = run.info.experiment_id  # other tests have used v1 on the same server
    used = [use.run_id for use in dsver.runs_using("clarifai://cats@v1") if use.experiment_id == here]
    assert used == [run.info.run_id]


@pytest.mark.parametrize("outcome", ["failure", "never"])
def test_version_that_does_not_become_ready_leaves_no_run(
    world: ClarifaiEmulator, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "2")
    made = world.add_version("cats", ready=False)
    world.switch("outcome", outcome)
    with pytest.raises(dsver.DsverError):
        dsver.start_run(inputs={"training": f"clarifai://cats@{made}"})
    assert mlflow.active_run() is None
    assert len(mlflow.search_runs()) == 0


def test_training_goes_on_with_a_word_when_it_may(world: ClarifaiEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "0.5")
    world.inject("hang")
    with dsver.start_run(inputs={"training": "clarifai://cats"}, on_error="warn") as run:
        mlflow.log_metric("trained", 1)
    stored = MlflowClient().get_run(run.info.run_id)
    assert stored.data.metrics["trained"] == 1
    assert "dsver.training.error" in stored.data.tags


def test_key_is_on_no_run_and_in_no_file(world: ClarifaiEmulator, tmp_path: Path) -> None:
    with dsver.start_run(inputs={"training": "clarifai://cats"}) as run:
        run.datasets["training"].path()
    world.inject("401:times=1")
    with pytest.raises(dsver.DsverError) as caught:
        dsver.resolve("clarifai://cats")
    texts = [str(caught.value), str(MlflowClient().get_run(run.info.run_id).to_dictionary())]
    folder = Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="dsver"))
    files = [path for root in (folder, tmp_path) for path in root.rglob("*") if path.is_file()]
    assert not [text for text in texts if PAT in text]
    assert not [path for path in files if PAT.encode() in path.read_bytes()]


def command(*arguments: str) -> Any:
    """What a command prints, parsed where it is JSON; a failure is raised as the library raised it."""
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    if done.exit_code:
        raise click.UsageError(done.output)
    return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout


def test_the_command_line_reaches_every_call(world: ClarifaiEmulator, tmp_path: Path) -> None:
    assert {each["id"] for each in command("clarifai", "datasets", "--json")["items"]} == {"cats", "digits"}
    assert command("clarifai", "datasets", "--create", "dogs", "--json")["items"][0]["id"] == "dogs"
    with pytest.raises(click.UsageError, match="--yes"):
        command("clarifai", "datasets", "--delete", "dogs")
    assert command("clarifai", "datasets", "--delete", "dogs", "--yes", "--json") == {"deleted": "dogs"}
    assert command("clarifai", "filters", "--json") == {"items": []}
    made = command("clarifai", "snapshot", "cats", "--filter", "checked", "--tag", "t", "-m", "words", "--json")
    assert made["raw"]["annotation_filter_config"]["annotation_filter"]["id"] == "checked"
    assert command("versions", "show", "clarifai://cats@t", "--json")["reference"] == made["reference"]
    assert command("clarifai", "export", "clarifai://cats@t", "--format", "coco", "--json")["archive_bytes"] > 0
    assert command("clarifai", "metrics", "cats@t", "--json")["items"][0]["metrics"]["inputs_count"] == "4"
    assert "inputs 4, positive_input_tags 4" in command("clarifai", "metrics", "cats@t")
    command("versions", "materialise", "clarifai://cats@t", str(tmp_path / "out"))
    assert (tmp_path / "out" / "mimetype").is_file()
    with pytest.raises(click.UsageError, match="no dataset at Clarifai"):
        command("clarifai", "metrics", "local://digits")
    world.switch("outcome", "failure")
    with pytest.raises(dsver.DsverError, match="64020"):
        command("versions", "create", "clarifai://cats")
