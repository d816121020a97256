"""What schema 1 wrote stays readable for ever. The files in `schema1` are by version 0.1.0: never change them."""

from __future__ import annotations

import io
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag

import mlflow_dsver as dsver
from mlflow_dsver.model.manifests import read
from mlflow_dsver.model.versions import Link
from mlflow_dsver.record import schema
from mlflow_dsver.tracking.source import DatasetVersionSource

SAVED = Path(__file__).parent / "schema1"
LOCAL = "local://digits@b4394866ce022f37"
PAPERSPACE = "paperspace://dst364npcw6ccok@fo5rp4m"


@pytest.fixture
def run_id(tracking, tmp_path) -> str:
    """A run that has the saved record, written without this package."""
    saved = json.loads((SAVED / "run.json").read_text())
    client = MlflowClient()
    run = client.create_run(tracking.experiment_id)
    client.log_batch(
        run.info.run_id,
        params=[Param(*pair) for pair in saved["params"].items()],
        tags=[RunTag(*pair) for pair in saved["tags"].items()],
    )
    inputs = [
        DatasetInput(
            Dataset(each["name"], each["digest"], each["source_type"], each["source"], profile=each["profile"]),
            [InputTag("mlflow.data.context", each["context"])],
        )
        for each in saved["inputs"]
    ]
    client.log_inputs(run.info.run_id, datasets=inputs)
    folder = tmp_path / "saved"
    shutil.copytree(SAVED, folder, ignore=shutil.ignore_patterns("run.json"))
    client.log_artifacts(run.info.run_id, str(folder), "dsver")
    return run.info.run_id


def test_the_links_of_a_run_are_read_whole(run_id):
    training, validation = dsver.inputs_of(run_id)
    assert str(training.version) == LOCAL
    assert training.requested == "local://digits@latest"
    assert str(training.grade) == "A"
    assert training.linked == datetime(2026, 11, 22, 4, 0, 0, 123456, tzinfo=UTC)
    assert training.version.tags == ("clean", "round-3")
    assert training.version.message == "relabelled 7s"
    assert training.version.metadata == {"by": "labelling round 3"}
    assert training.version.usage_bytes == 20
    assert training.version.raw["kept"] is True
    assert str(validation.version) == PAPERSPACE
    assert validation.requested == "dst364npcw6ccok:latest"
    assert str(validation.grade) == "B (attached later)"
    assert validation.version.usage_bytes == 123456789
    assert validation.version.web_url == "https://console.paperspace.com/acme/datasets/dst364npcw6ccok"


def test_without_its_artifacts_a_link_is_read_from_params_tags_and_inputs(run_id):
    shutil.rmtree(mlflow.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    training, validation = dsver.inputs_of(run_id)
    assert str(training.version) == LOCAL
    assert training.version.tags == ("clean", "round-3")
    assert training.version.usage_bytes == 20
    assert training.version.content_digest == read(open_manifest()).digest
    assert str(validation.grade) == "B (attached later)"
    assert validation.version.web_url == "https://console.paperspace.com/acme/datasets/dst364npcw6ccok"


def test_runs_are_found_by_what_they_recorded(run_id):
    assert [(use.run_id, use.role) for use in dsver.runs_using(dsver.inputs_of(run_id)[0].version)] == [
        (run_id, "training")
    ]
    assert [use.role for use in dsver.runs_using("paperspace://dst364npcw6ccok")] == ["validation"]


def test_the_source_is_one_that_mlflow_hands_back(run_id):
    first, second = mlflow.get_run(run_id).inputs.dataset_inputs
    sources = {mlflow.data.get_source(each).reference for each in (first, second)}
    assert sources == {LOCAL, PAPERSPACE}
    for each in json.loads((SAVED / "run.json").read_text())["inputs"]:
        assert DatasetVersionSource.from_json(each["source"]).to_dict() == json.loads(each["source"])


def test_the_manifest_is_read_and_its_digest_is_the_recorded_one():
    manifest = read(open_manifest())
    assert [entry.path for entry in manifest.entries] == ["0/a.txt", "1/b.txt", "labels.csv"]
    assert f"local://digits@{manifest.digest[7:23]}" == LOCAL


def test_digests_of_dataset_inputs_are_computed_as_ever():
    """Otherwise a run that is resumed after an update of this package would get each input a second time."""
    saved = json.loads((SAVED / "run.json").read_text())["inputs"]
    links = [Link.from_json(json.loads((SAVED / f"{role}.json").read_text())) for role in ("training", "validation")]
    assert schema.plan_digests(links, []) == {each["context"]: each["digest"] for each in saved}


def test_resuming_an_old_run_writes_nothing(run_id, monkeypatch):
    (wanted,) = [link for link in dsver.inputs_of(run_id) if link.role == "training"]
    from mlflow_dsver.tracking import record_writer

    for step in ("_log_artifacts", "dataset_input"):
        monkeypatch.setattr(record_writer, step, None)
    client = MlflowClient()
    known = client.get_run(run_id)
    from mlflow_dsver.deadlines import Deadline

    record_writer.write(client, known.info, known, [record_writer.PendingLink(wanted)], Deadline(60))
    assert client.get_run(run_id).data.params == known.data.params


def open_manifest() -> io.BytesIO:
    return io.BytesIO((SAVED / "training.manifest.jsonl.gz").read_bytes())
