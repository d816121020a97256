"""Trains some forests, looks for the best run, and trains anew with all params that this run has."""

import mlflow
import pandas as pd
from mlflow.entities import ViewType
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import train_test_split

PARAMS = ["max_depth", "n_estimators", "min_samples_split", "random_state"]

flowers = pd.read_csv("data/flowers.csv")
x_train, x_test, y_train, y_test = train_test_split(
    flowers.drop(columns="petal_width"), flowers["petal_width"], random_state=1
)


def train_and_log_model(params):
    with mlflow.start_run() as run:
        forest = RandomForestRegressor(**{name: int(value) for name, value in params.items()})
        forest.fit(x_train, y_train)
        mlflow.log_params({name: params[name] for name in params})
        mlflow.log_metric("rmse", root_mean_squared_error(y_test, forest.predict(x_test)))
        return run


experiment = train_and_log_model(dict(zip(PARAMS, (2, 5, 2, 1), strict=True))).info.experiment_id
for depth, trees in ((4, 10), (8, 20)):
    train_and_log_model(dict(zip(PARAMS, (depth, trees, 2, 1), strict=True)))

client = mlflow.MlflowClient()
best = client.search_runs(
    experiment_ids=[experiment],
    run_view_type=ViewType.ACTIVE_ONLY,
    max_results=1,
    order_by=["metrics.rmse ASC"],
)[0]
print("best:", sorted(best.data.params.items()))
again = train_and_log_model(best.data.params)
print("again:", round(client.get_run(again.info.run_id).data.metrics["rmse"], 4))
