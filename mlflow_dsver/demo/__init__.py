"""The demo of the main use case on real data, without an account or network access.

`train` is the training script as a user would write it; `walkthrough` writes the data, runs all steps and prints what
it does. `mlflow-dsver demo` runs it with a store and a tracking database of its own.
"""
