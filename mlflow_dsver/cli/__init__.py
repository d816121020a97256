"""The command `mlflow-dsver`: parse, call the library, render; one file a family of commands."""
