"""Snapshots of MLflow's evaluation datasets: the records as they were, whatever MLflow does with them since."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.errors import ContentError, InvalidArgument, NotFound, TrackingError, Unsupported
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.evaluation.provider import FILE, canonical

pytestmark = [
    pytest.mark.skipif(int(mlflow.__version__.partition(".")[0]) < 3, reason="MLflow 2 has no evaluation datasets"),
    pytest.mark.filterwarnings("ignore"),  # those of MLflow's own code
]
RECORDS = [
    {"inputs": {"question": "2 + 2", "of": [1, {"ü": None}]}, "expectations": {"answer": 4}},
    {"inputs": {"question": "capital of France"}, "expectations": {"answer": "Paris"}, "tags": {"topic": "cities"}},
]


def dataset(records: list[dict[str, Any]], name: str = "questions") -> Any:
    made = importlib.import_module("mlflow.genai.datasets").create_dataset(name=name)
    return made.merge_records(records) if records else made


def lines(version: dsver.DatasetVersion) -> list[dict[str, Any]]:
    with dsver.get_provider("mlflow").open(version, FILE) as stream:
        return [json.loads(line) for line in stream]


@pytest.mark.parametrize("where", ["tracking", "server"])
def test_a_run_links_the_records_as_they_were_when_it_started(where: str, request: pytest.FixtureRequest) -> None:
    """Also from a real server; a record that is changed later makes another version."""
    request.getfixturevalue(where)
    made = dataset(RECORDS)
    with dsver.start_run(inputs={"eval": f"mlflow://{made.dataset_id}?create"}) as run:
        table = run.datasets["eval"].table()
    assert sorted(row["question"] for row in table["inputs"]) == ["2 + 2", "capital of France"]
    made.merge_records([{"inputs": RECORDS[0]["inputs"], "expectations": {"answer": 5}}])
    assert dsver.verify(run.info.run_id)
    (link,) = dsver.inputs_of(run.info.run_id)
    assert (link.version.dataset_name, link.grade.letter) == ("questions", "A")
    assert {"answer": 4} in [each.get("expectations") for each in lines(link.version)]
    newer = dsver.create_version(f"mlflow://{made.dataset_id}")
    assert newer.id != link.version.id


def test_the_same_records_are_the_same_version_whatever_their_order_ids_and_authors(tracking: Any) -> None:
    first = dsver.create_version(f"mlflow://{dataset(RECORDS).dataset_id}")
    second = dsver.create_version(f"mlflow://{dataset(RECORDS[::-1], 'others').dataset_id}")
    assert first.content_digest == second.content_digest
    again = dsver.create_version(str(first.ref.at(None)))
    assert (again.id, again.modified) == (first.id, first.modified)


def test_a_dataset_that_is_not_there_is_not_found(tracking: Any) -> None:
    with pytest.raises(NotFound, match="no evaluation dataset of that id"):
        dsver.create_version("mlflow://d-0123")
    with pytest.raises(NotFound, match="versions create mlflow://d-0123"):
        dsver.resolve("mlflow://d-0123")


def test_a_dataset_without_records_and_a_folder_are_refused(tracking: Any, tmp_path: Path) -> None:
    made = dataset([])
    with pytest.raises(ContentError, match="no record"):
        dsver.create_version(f"mlflow://{made.dataset_id}")
    with pytest.raises(InvalidArgument, match="versions create mlflow://"):
        dsver.create_version(f"mlflow://{made.dataset_id}", tmp_path)


def test_a_server_that_does_not_answer_is_a_tracking_error(monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "2")
    with pytest.raises(TrackingError):
        dsver.create_version("mlflow://d-0123")


def test_an_mlflow_without_evaluation_datasets_is_named(tracking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(MlflowClient, "get_dataset")
    with pytest.raises(Unsupported, match=r"mlflow 3\.4"):
        dsver.create_version("mlflow://d-0123")


def test_a_record_that_is_no_json_is_refused() -> None:
    record = SimpleNamespace(inputs={"x": float("nan")}, tags={})
    with pytest.raises(ContentError, match="cannot be kept as JSON"):
        canonical(DatasetRef("mlflow", "d"), [record])


def test_what_mlflow_does_not_version_is_named_with_what_to_do(tracking: Any, digits: dsver.DatasetVersion) -> None:
    with dsver.start_run(inputs={"training": digits}) as run:
        mlflow.log_input(dataset(RECORDS), context="eval")
    assert any("mlflow://DATASET_ID?create" in note.what for note in dsver.verify(run.info.run_id).notes)
