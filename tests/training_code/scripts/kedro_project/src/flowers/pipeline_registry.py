"""The pipeline: read, train, evaluate."""

import pandas as pd
from kedro.pipeline import Pipeline, node
from sklearn.model_selection import cross_val_score
from sklearn.tree import DecisionTreeClassifier


def read(data):
    return pd.read_csv(data)


def evaluate(flowers, max_depth):
    tree = DecisionTreeClassifier(max_depth=max_depth, random_state=0)
    score = float(cross_val_score(tree, flowers.drop(columns="species"), flowers["species"], cv=3).mean())
    print(f"accuracy: {score:.3f}")
    return score


def register_pipelines():
    pipeline = Pipeline(
        [
            node(read, "params:data", "flowers", name="read"),
            node(evaluate, ["flowers", "params:max_depth"], "metrics", name="evaluate"),
        ]
    )
    return {"__default__": pipeline}
