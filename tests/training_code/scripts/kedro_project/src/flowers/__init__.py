"""A Kedro project with kedro-mlflow."""
