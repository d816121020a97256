"""The entry point of a project, as in MLflow's tutorial."""

import sys

import mlflow
import numpy as np
import pandas as pd
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

np.random.seed(40)
flowers = pd.read_csv(sys.argv[1])
train, test = train_test_split(flowers)
alpha = float(sys.argv[2])

with mlflow.start_run():
    model = ElasticNet(alpha=alpha, l1_ratio=0.5, random_state=42)
    model.fit(train.drop(columns="petal_width"), train["petal_width"])
    predicted = model.predict(test.drop(columns="petal_width"))
    mlflow.log_param("l1_ratio", 0.5)
    mlflow.log_metric("r2", r2_score(test["petal_width"], predicted))
    mlflow.log_metric("mae", mean_absolute_error(test["petal_width"], predicted))
    print(f"elastic net (alpha={alpha:.2f}): mae {mean_absolute_error(test['petal_width'], predicted):.3f}")
