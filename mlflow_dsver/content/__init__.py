"""Walks and hashes folders into manifests; knows files and digests, and nothing of providers or MLflow."""
