"""Optuna with the MLflowCallback of optuna-integration: a run for each trial, and one that the objective opened."""

import os

import mlflow
import optuna
import pandas as pd
from optuna_integration import MLflowCallback
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier

flowers = pd.read_csv("data/flowers.csv")
x, y = flowers.drop(columns="species"), flowers["species"]
callback = MLflowCallback(
    tracking_uri=os.environ["MLFLOW_TRACKING_URI"], metric_name="accuracy", create_experiment=False
)


@callback.track_in_mlflow()
def objective(trial):
    depth = trial.suggest_int("max_depth", 1, 6)
    leaf = trial.suggest_int("min_samples_leaf", 1, 10)
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=leaf, random_state=0)
    scores = cross_val_score(tree, x, y, cv=3)
    mlflow.log_metric("worst_fold", scores.min())
    return scores.mean()


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), study_name="trees")
study.optimize(objective, n_trials=4, callbacks=[callback])
print("best:", study.best_params, round(study.best_value, 3))
