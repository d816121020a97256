"""Reads the files of a commit: from the Hub's cache where it has the right bytes, else by HTTP in ranges.

A file that is read whole is compared with its SHA-256 or git blob id here. Parts of large files are compared by
whoever puts them together. Files without SHA-256 are small: the Hub takes none above 10 MB outside LFS and Xet.
"""

from __future__ import annotations

import hashlib
from threading import Lock
from typing import Any

from mlflow_dsver.model.evidence import Checksum
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.providers.file_fetching import ReadFile, another
from mlflow_dsver.providers.hf.cache import CachedSnapshot
from mlflow_dsver.providers.hf.hub import Asked, Hub
from mlflow_dsver.providers.hf.info import Place
from mlflow_dsver.providers.hf.listing import file_in_repository, is_right, sha256_of


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

    def fetch(entry: FileEntry, start: int, stop: int) -> Any:
        whole = (start, stop) == (0, entry.bytes)
        path = file_in_repository(place, manifest, entry.path)
        found = hub.read(place, commit, path, None if whole else (start, stop), asked)
        if found.size != entry.bytes:
            raise another(entry, reference, f"{entry.bytes:,} bytes", f"{found.size:,} bytes")
        if whole and is_right(entry, found.content) is False:
            kind = "SHA-256" if sha256_of(entry) else "git blob id"
            raise another(entry, reference, f"the recorded {kind}", f"another {kind}")
        return found.content

    return fetch


class ReadOnce:
    """Reads small files for a check once, although it asks for their checksums and then for their bytes.

    The checksum of a file without SHA-256 is the SHA-1 of bytes whose git blob id is the recorded one.
    """

    def __init__(self, read: ReadFile) -> None:
        self._read = read
        self._kept: dict[str, Any] = {}
        self._lock = Lock()

    def checksums(self, entry: FileEntry) -> tuple[Checksum, ...]:
        """The SHA-1 of a file's bytes. Raises CorruptObject when their git blob id is not the recorded one."""
        content = self._read(entry, 0, entry.bytes)
        with self._lock:
            self._kept[entry.path] = content
        return (Checksum("sha1", hashlib.sha1(content, usedforsecurity=False).hexdigest(), by="store"),)

    def read(self, entry: FileEntry, start: int, stop: int) -> Any:
        """The bytes of a file, as `ReadFile` gives them."""
        with self._lock:
            content = self._kept.pop(entry.path, None)
        return content[start:stop] if content is not None else self._read(entry, start, stop)
