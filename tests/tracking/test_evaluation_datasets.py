"""Runs that logged evaluation datasets of `mlflow.genai`: shown as MLflow's own, never as a link, never an error."""

from __future__ import annotations

import importlib
import json
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.checks.verify import UNVERSIONED, verify
from mlflow_dsver.lineage.render import report_json, report_markdown
from mlflow_dsver.record.mlflow_urls import MLflow
from mlflow_dsver.tracking import async_logging
from mlflow_dsver.tracking.queries import Tracking

pytestmark = [
    pytest.mark.skipif(int(mlflow.__version__.partition(".")[0]) < 3, reason="MLflow 2 has no evaluation datasets"),
    pytest.mark.filterwarnings("ignore"),  # those of MLflow's own code
]


@pytest.fixture
def questions(tracking: Any) -> Any:
    """An evaluation dataset with two records."""
    datasets = importlib.import_module("mlflow.genai.datasets")
    made = datasets.create_dataset(name="questions", experiment_id=tracking.experiment_id)
    made.merge_records(
        [{"inputs": {"question": str(number)}, "expectations": {"answer": "0"}} for number in range(2)]
    )
    return made


@pytest.fixture
def evaluated(questions: Any, digits: Any) -> str:
    """A run with a link, and with the evaluation dataset as an input, twice the same."""
    with dsver.start_run(inputs={"training": str(digits.ref)}) as run:
        mlflow.log_input(questions, context="eval")
    async_logging.settle(run.info.run_id)
    return str(run.info.run_id)


def test_it_is_no_link(evaluated: str, digits: Any, questions: Any) -> None:
    assert [link.role for link in dsver.inputs_of(evaluated)] == ["training"]
    assert [use.run_id for use in dsver.runs_using(digits)] == [evaluated]
    run = Tracking().run(evaluated)
    assert [use.role for use in run.uses] == ["training"]
    (found,) = run.evaluation_datasets
    assert (found.name, found.dataset_id, found.context) == ("questions", questions.dataset_id, "eval")
    (logged,) = [
        each.dataset
        for each in MlflowClient().get_run(evaluated).inputs.dataset_inputs
        if each.dataset.name == "questions"
    ]
    assert found.digest == logged.digest


def test_verify_says_that_it_was_not_checked(evaluated: str, questions: Any) -> None:
    report = verify(evaluated)
    assert str(report.verdict) == "MATCH"
    assert [(note.what, questions.dataset_id in (note.found or "")) for note in report.notes] == [(UNVERSIONED, True)]


def test_commands_and_reports_show_it(evaluated: str, questions: Any, run: Any) -> None:
    told = run("inputs", evaluated).stdout
    assert f"questions, {questions.dataset_id}, digest " in told
    data = json.loads(run("inputs", evaluated, "--json").stdout)
    assert [each["dataset_id"] for each in data["evaluation_datasets"]] == [questions.dataset_id]
    checked = run("verify", evaluated).stdout
    assert UNVERSIONED in checked
    assert questions.dataset_id in checked
    report = dsver.report_of()
    assert "evaluation dataset questions" in report_markdown(report, MLflow())
    assert json.loads(report_json(report))["runs"][0]["evaluation_datasets"][0]["name"] == "questions"


def test_a_run_with_nothing_else_has_no_link(questions: Any, run: Any) -> None:
    with mlflow.start_run() as started:
        mlflow.log_input(questions)
    run_id = started.info.run_id
    assert dsver.inputs_of(run_id) == []
    report = verify(run_id)
    assert report.inputs == ()
    assert [note.what for note in report.notes] == [UNVERSIONED]
    assert "evaluation_datasets" in json.loads(run("inputs", run_id, "--json").stdout)


def test_what_evaluate_logs_is_read_as_well(questions: Any) -> None:
    genai = importlib.import_module("mlflow.genai")

    @genai.scorer
    def same(outputs: str, expectations: dict[str, Any]) -> bool:
        return outputs == expectations["answer"]

    done = genai.evaluate(data=questions, predict_fn=lambda question: question, scorers=[same])
    found = Tracking().run(done.run_id).evaluation_datasets
    assert [each.dataset_id for each in found] == [questions.dataset_id]
    assert dsver.inputs_of(done.run_id) == []


def test_an_input_that_says_nonsense_is_shown_without_an_id(tracking: Any) -> None:
    from mlflow.entities import Dataset, DatasetInput

    client = MlflowClient()
    run_id = client.create_run(tracking.experiment_id).info.run_id
    for number, source in enumerate(("{}", "[1]", "nonsense", '{"dataset_id": 7}')):
        data = Dataset(f"odd {number}", f"{number}", "mlflow_evaluation_dataset", source)
        client.log_inputs(run_id, [DatasetInput(data, [])])
    found = Tracking().run(run_id).evaluation_datasets
    assert sorted(each.dataset_id for each in found) == [""] * 4
    assert len(verify(run_id).notes) == 4
