"""What a link is on an MLflow run: its keys, how they are written and read back. Pure; no request is made."""
