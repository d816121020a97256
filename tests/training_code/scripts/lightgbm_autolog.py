"""LightGBM's native training under autologging."""

import lightgbm as lgb
import mlflow
import pandas as pd
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

mlflow.lightgbm.autolog(log_models=False)

flowers = pd.read_csv("data/flowers.csv")
x_train, x_test, y_train, y_test = train_test_split(
    flowers.drop(columns="species"), flowers["species"], random_state=42
)
train, valid = lgb.Dataset(x_train, label=y_train), lgb.Dataset(x_test, label=y_test)

with mlflow.start_run():
    params = {"objective": "multiclass", "num_class": 3, "metric": "multi_logloss", "verbosity": -1, "num_threads": 1}
    model = lgb.train(params, train, num_boost_round=10, valid_sets=[train, valid], valid_names=["train", "valid"])
    probabilities = model.predict(x_test)
    mlflow.log_metrics(
        {
            "log_loss": log_loss(y_test, probabilities),
            "accuracy": accuracy_score(y_test, probabilities.argmax(axis=1)),
        }
    )
    print("trees:", model.num_trees())
