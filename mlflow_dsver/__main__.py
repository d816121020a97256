"""`python -m mlflow_dsver` is the command `mlflow-dsver`."""

from mlflow_dsver.cli.main import main

if __name__ == "__main__":
    main()
