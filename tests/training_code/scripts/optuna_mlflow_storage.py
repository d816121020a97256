"""Optuna with MLflow as its storage: a run for the study and one for each trial, all made by MlflowClient."""

import os

import mlflow
import optuna
import pandas as pd
from mlflow.optuna.storage import MlflowStorage
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

flowers = pd.read_csv("data/flowers.csv")
x, y = flowers.drop(columns="species"), flowers["species"]


def objective(trial):
    depth = trial.suggest_int("max_depth", 1, 6)
    return cross_val_score(DecisionTreeClassifier(max_depth=depth, random_state=0), x, y, cv=3).mean()


optuna.logging.set_verbosity(optuna.logging.WARNING)
experiment = mlflow.set_experiment(os.environ["MLFLOW_EXPERIMENT_NAME"])
storage = MlflowStorage(experiment_id=experiment.experiment_id)
study = optuna.create_study(
    study_name="depth", storage=storage, direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0)
)
study.optimize(objective, n_trials=3)
storage.flush_all_batches()
print("best:", study.best_params, round(study.best_value, 3))
