"""A randomized search under autologging, inside a run of the script's own, with the default of five child runs."""

import mlflow
import pandas as pd
from scipy.stats import loguniform
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

mlflow.autolog(log_models=False)

flowers = pd.read_csv("data/flowers.csv")
model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
search = RandomizedSearchCV(model, {"logisticregression__C": loguniform(1e-3, 1e2)}, n_iter=8, cv=3, random_state=0)

with mlflow.start_run(run_name="search"):
    search.fit(flowers.drop(columns="species"), flowers["species"])
    mlflow.set_tag("stage", "search")

print("best score:", round(search.best_score_, 3))
