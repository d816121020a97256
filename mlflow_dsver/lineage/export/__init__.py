"""Runs in open formats: Croissant, PROV, RO-Crate, OpenLineage, and signed statements."""
