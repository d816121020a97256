"""From what a script asks for to one version: inputs, overrides, the lock file, the cache, ranks. No MLflow."""
