"""Ray Tune whose trials log by themselves: `setup_mlflow` starts a run in each worker process."""

import os
from pathlib import Path

import mlflow
import pandas as pd
import ray
from ray import tune
from ray.air.integrations.mlflow import setup_mlflow
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

DATA = Path("data/flowers.csv").resolve()


def train(config):
    setup_mlflow(
        config,
        experiment_name=os.environ["MLFLOW_EXPERIMENT_NAME"],
        tracking_uri=os.environ["MLFLOW_TRACKING_URI"],
    )
    flowers = pd.read_csv(DATA)
    tree = DecisionTreeClassifier(max_depth=config["max_depth"], random_state=0)
    score = cross_val_score(tree, flowers.drop(columns="species"), flowers["species"], cv=2).mean()
    mlflow.log_metric("accuracy", score)
    tune.report({"accuracy": score})


ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
tuner = tune.Tuner(
    train,
    param_space={"max_depth": tune.grid_search([1, 3])},
    run_config=tune.RunConfig(name="depth", storage_path=str(Path("ray").resolve()), verbose=0),
)
results = tuner.fit()
print("best:", results.get_best_result("accuracy", "max").config["max_depth"])
