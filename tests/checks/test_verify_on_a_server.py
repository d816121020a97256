"""The record read back from an `mlflow server` with proxied artifacts: complete, partial, and without artifacts."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import Proof, Verdict
from mlflow_dsver.tracking.queries import Tracking

pytestmark = pytest.mark.usefixtures("server")


def test_a_run_on_a_server_is_verified_tagged_and_searched(digits_folder: Path) -> None:
    dsver.create_version("local://digits", digits_folder)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    report = dsver.verify(run.info.run_id, depth="full")
    assert (report.verdict, report.inputs[0].proof, report.inputs[0].notes) == (Verdict.MATCH, Proof.HASHED, ())
    assert set(Tracking().record_files(Tracking().run(run.info.run_id))) == {
        "training.json",
        "training.manifest.jsonl.gz",
    }
    assert dsver.contains(path="labels.csv").holdings[0].uses[0].run_id == run.info.run_id
    assert dsver.seal(run.info.run_id)


def test_a_record_without_artifacts_is_noted_and_what_is_left_is_checked(digits_folder: Path) -> None:
    version = dsver.create_version("local://digits", digits_folder)
    with mlflow.start_run() as run:
        mlflow.log_params(
            {"dsver.training.version": str(version), "dsver.training.content_digest": version.content_digest}
        )
    report = dsver.verify(run.info.run_id)
    assert report.verdict is Verdict.MATCH
    assert len(report.inputs[0].notes) >= 2
    assert dsver.verify(run.info.run_id, depth="metadata").verdict is Verdict.UNVERIFIABLE


def test_a_run_with_nothing_of_ours_has_no_link() -> None:
    with mlflow.start_run() as run:
        mlflow.log_text("x", "notes.txt")
    assert dsver.verify(run.info.run_id).inputs == ()
    assert MlflowClient().get_run(run.info.run_id).data.tags.get("dsver.verdict") is None
