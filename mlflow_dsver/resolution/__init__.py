"""Resolve references to versions: inputs, overrides, the lock file, the resolution cache, ranks. No MLflow."""
