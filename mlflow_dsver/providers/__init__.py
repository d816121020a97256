"""Where datasets are kept in versions: one folder a provider, found by entry point, behind one interface."""
