"""What was made from which data: a pure graph of datasets, versions, runs and models, and its renderers."""
