"""XGBoost's native training under autologging, then its scikit-learn estimator; MLflow starts the runs by itself."""

import mlflow
import pandas as pd
import xgboost as xgb
from sklearn.model_selection import train_test_split

mlflow.xgboost.autolog(log_models=False)

flowers = pd.read_csv("data/flowers.csv")
x_train, x_test, y_train, y_test = train_test_split(
    flowers.drop(columns="species"), flowers["species"], random_state=42
)

train, test = xgb.DMatrix(x_train, label=y_train), xgb.DMatrix(x_test, label=y_test)
params = {"objective": "multi:softprob", "num_class": 3, "learning_rate": 0.3, "eval_metric": "mlogloss", "seed": 42}
model = xgb.train(params, train, num_boost_round=10, evals=[(train, "train"), (test, "test")])
print("best iteration:", model.num_boosted_rounds())

with mlflow.start_run(run_name="estimator"):
    classifier = xgb.XGBClassifier(n_estimators=5, max_depth=3, random_state=42)
    classifier.fit(x_train, y_train)
    print(f"accuracy: {classifier.score(x_test, y_test):.3f}")
