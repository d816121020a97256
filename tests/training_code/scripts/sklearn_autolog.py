"""A forest under autologging."""

import mlflow
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

mlflow.sklearn.autolog()

flowers = pd.read_csv("data/flowers.csv")
x_train, x_test, y_train, y_test = train_test_split(
    flowers.drop(columns="species"), flowers["species"], random_state=0
)

with mlflow.start_run(run_name="forest"):
    forest = RandomForestClassifier(n_estimators=10, max_depth=3, random_state=0)
    forest.fit(x_train, y_train)
    print(f"accuracy: {forest.score(x_test, y_test):.3f}")
