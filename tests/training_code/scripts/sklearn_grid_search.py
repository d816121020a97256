"""A grid search under autologging: a parent run, and a child run for each of the candidates."""

import mlflow
import pandas as pd
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

mlflow.sklearn.autolog(log_models=False, max_tuning_runs=None)

flowers = pd.read_csv("data/flowers.csv")
grid = {"C": [0.1, 1, 10], "kernel": ["linear", "rbf"], "gamma": ["scale", "auto"]}
search = GridSearchCV(SVC(), grid, cv=3)
search.fit(flowers.drop(columns="species"), flowers["species"])

print("best parameters:", search.best_params_)
print(f"best score: {search.best_score_:.3f}")
