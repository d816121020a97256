"""Ray Tune with MLflowLoggerCallback, which makes a run for each trial by MlflowClient in the driver."""

import os
from pathlib import Path

import pandas as pd
import ray
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

DATA = Path("data/flowers.csv").resolve()


def train(config):
    flowers = pd.read_csv(DATA)
    tree = DecisionTreeClassifier(max_depth=config["max_depth"], random_state=0)
    for score in cross_val_score(tree, flowers.drop(columns="species"), flowers["species"], cv=2):
        tune.report({"accuracy": score})


ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
tuner = tune.Tuner(
    train,
    param_space={"max_depth": tune.grid_search([1, 2, 4])},
    run_config=tune.RunConfig(
        name="depth",
        storage_path=str(Path("ray").resolve()),
        verbose=0,
        callbacks=[
            MLflowLoggerCallback(
                tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
                experiment_name=os.environ["MLFLOW_EXPERIMENT_NAME"],
                save_artifact=True,
            )
        ],
    ),
)
results = tuner.fit()
print("best:", results.get_best_result("accuracy", "max").config)
