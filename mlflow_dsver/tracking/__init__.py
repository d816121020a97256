"""The only importer of mlflow: dataset source and dataset, the record on a run, run start, history."""
