"""A training script as a user would write it. All but `inputs=` and `.path()` is plain MLflow."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import mlflow

import mlflow_dsver as dsver


def train(name: str, inputs: dict[str, str]) -> tuple[str, float]:
    """Train on the role `training` and measure accuracy on the role `test`; returns run id and accuracy."""
    from sklearn.linear_model import LogisticRegression

    with dsver.start_run(inputs=inputs, run_name=name) as run:
        images, labels = read(run.datasets["training"].path())
        model = LogisticRegression(max_iter=500).fit(images, labels)

        images, labels = read(run.datasets["test"].path())
        accuracy = float(model.score(images, labels))
        mlflow.log_params({"model": "LogisticRegression", "max_iter": 500})
        mlflow.log_metric("accuracy", accuracy)
    return run.info.run_id, accuracy


def read(folder: Path) -> tuple[Any, list[int]]:
    """Pixels and labels of all images in a folder with `labels.csv`."""
    import numpy
    from PIL import Image

    with (folder / "labels.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    images = numpy.stack([numpy.asarray(Image.open(folder / row["file"])).ravel() / 240 for row in rows])
    return images, [int(row["label"]) for row in rows]
