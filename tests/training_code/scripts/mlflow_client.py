"""Runs that are made, written and ended by MlflowClient alone, in threads that know nothing but a run id."""

import os
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

client = MlflowClient()
experiment = client.get_experiment_by_name(os.environ["MLFLOW_EXPERIMENT_NAME"]).experiment_id
flowers = pd.read_csv("data/flowers.csv")


def trial(neighbors):
    run_id = client.create_run(experiment, run_name=f"k={neighbors}", tags={"trial": str(neighbors)}).info.run_id
    scores = cross_val_score(
        KNeighborsClassifier(neighbors), flowers.drop(columns="species"), flowers["species"], cv=3
    )
    client.log_batch(
        run_id,
        metrics=[Metric("accuracy", score, 0, fold) for fold, score in enumerate(scores)],
        params=[Param("neighbors", str(neighbors))],
        tags=[RunTag("done", "yes")],
    )
    client.set_terminated(run_id)
    return scores.mean()


with ThreadPoolExecutor(3) as threads:
    for neighbors, score in zip((1, 3, 5, 9), threads.map(trial, (1, 3, 5, 9)), strict=True):
        print(f"k={neighbors}: {score:.3f}")

failed = client.create_run(experiment, run_name="fails")
client.set_terminated(failed.info.run_id, status="FAILED")
