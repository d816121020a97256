"""A Hydra application that trains one model for each job of a multirun."""

from pathlib import Path

import hydra
import mlflow
import pandas as pd
from omegaconf import DictConfig
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> float:
    flowers = pd.read_csv(Path(hydra.utils.to_absolute_path(config.data)))
    with mlflow.start_run(run_name=f"C={config.model.C}"):
        mlflow.log_params(config.model)
        model = LogisticRegression(**config.model)
        score = cross_val_score(model, flowers.drop(columns="species"), flowers["species"], cv=3).mean()
        mlflow.log_metric("accuracy", score)
    print(f"C={config.model.C}: {score:.3f}")
    return float(score)


if __name__ == "__main__":
    main()
