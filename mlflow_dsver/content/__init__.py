"""Files and folders: walking, hashing into manifests, archives, caches, locks, atomic writes."""
