"""Values without I/O: references, versions, manifests, and versions to be created."""
