"""What was made from which data: a graph of datasets, versions, runs and models, its renderers and exports."""
