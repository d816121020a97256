"""Values without I/O: references, versions, manifests, and what a new version is to be."""
