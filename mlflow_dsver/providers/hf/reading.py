"""Reads the files of a commit: from the Hub's cache where it has the right bytes, else by HTTP in ranges.

Files of the cache are compared with their SHA-256 or git blob id before their bytes are given, and so are small files
that come by HTTP as a whole. The parts of larger ones are compared by whoever puts them together.
"""

from __future__ import annotations

from typing import Any

from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.providers.file_fetching import ReadFile, another
from mlflow_dsver.providers.hf.cache import CachedSnapshot
from mlflow_dsver.providers.hf.hub import Asked, Hub
from mlflow_dsver.providers.hf.info import Place
from mlflow_dsver.providers.hf.listing import file_in_repository, is_right


def reader_of(hub: Hub, place: Place, commit: str, manifest: Manifest, reference: object) -> ReadFile:
    """A function that reads a file of a commit from one byte to another."""
    fetch = fetcher_of(hub, place, commit, manifest, reference)
    if hub.account.cache is None:
        return fetch
    cached = CachedSnapshot(hub.account.cache, place, commit, lambda path: file_in_repository(place, manifest, path))

    def read(entry: FileEntry, start: int, stop: int) -> Any:
        found = cached.read(entry, start, stop)
        return fetch(entry, start, stop) if found is None else found

    return read


def fetcher_of(hub: Hub, place: Place, commit: str, manifest: Manifest, reference: object) -> ReadFile:
    """A function that reads a file of a commit from the Hub, whatever its cache has."""
    asked = Asked("fetch", reference, place)

    def fetch(entry: FileEntry, start: int, stop: int) -> bytes:
        whole = (start, stop) == (0, entry.bytes)
        path = file_in_repository(place, manifest, entry.path)
        found = hub.read(place, commit, path, (start, stop), asked, entry.bytes)
        if found.size != entry.bytes:
            raise another(entry, reference, f"{entry.bytes:,} bytes", f"{found.size:,} bytes")
        if whole and not is_right(entry, [found.content]):
            raise another(entry, reference, "the recorded checksum", "another")
        return found.content

    return fetch
