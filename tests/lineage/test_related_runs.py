"""The card says who else used the versions, with links that MLflow's viewer keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient

import mlflow_dsver as dsver
from mlflow_dsver.model.refs import parse
from mlflow_dsver.model.versions import DatasetVersion, Grade, Link, now
from mlflow_dsver.record.card import RelatedRuns, render


def test_the_card_names_recent_runs_with_the_same_version(tracking: Any, digits_folder: Path, tmp_path: Path) -> None:
    version = dsver.create_version("local://digits", digits_folder)
    ids = []
    for role in ("training", "validation", "test"):
        with mlflow.start_run(run_name=f"as {role}") as run:
            dsver.use(version, role=role)
            ids.append(run.info.run_id)
    told = Path(MlflowClient().download_artifacts(ids[2], "dsver/card.md", str(tmp_path))).read_text()
    _, _, related = told.partition("## Who else used these versions")
    experiment = tracking.experiment_id
    lines = related.strip().splitlines()
    assert lines[0] == "- dataset `local://digits`"
    assert lines[1] == f"    - version `{version}`"
    assert lines[2].startswith(
        f"        - **this run**: test ([all runs of this experiment with it](<#/experiments/{experiment}"
    )
    assert lines[3] == f"        - [as validation](<#/experiments/{experiment}/runs/{ids[1]}>): validation"
    assert lines[4] == f"        - [as training](<#/experiments/{experiment}/runs/{ids[0]}>): training"


def test_a_hostile_name_cannot_leave_its_link() -> None:
    link = Link("training", "local://d", DatasetVersion(parse("local://d@v1")), Grade("D"), now())
    name = "x](javascript:alert(1)) <img src=x>\n# heading"
    told = render([link], {}, None, related=RelatedRuns("1", [("a" * 32, name, {"training": link})]))
    line = next(line for line in told.splitlines() if "javascript" in line)
    assert line.startswith("        - [x\\]\\(javascript\\:alert\\(1\\)\\) \\<img")
    assert line.endswith(f"](<#/experiments/1/runs/{'a' * 32}>): training")
