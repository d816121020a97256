"""Compares the files of a recorded commit with what the Hub says of them now: its listing, read once.

The bytes of large files are in another storage than the commits, and can be deleted there while the listing still
has them, so one byte of each is asked for. Other files are in the same git repository as the listing.
"""

from __future__ import annotations

from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.differences import compare
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.providers.file_checks import CheckFile, FileResult
from mlflow_dsver.providers.hf.hub import Asked, Hub
from mlflow_dsver.providers.hf.info import Place
from mlflow_dsver.providers.hf.listing import file_in_repository, list_files, sha256_of

BLOB = "git blob id"


def checker_of(hub: Hub, place: Place, commit: str, manifest: Manifest, reference: object) -> CheckFile:
    """A function that compares an entry with the Hub's listing. Raises NotFound when the commit is gone."""
    now = {entry.path: entry for entry in list_files(hub, place, commit, reference).entries}
    asked = Asked("check the files", reference, place)

    def check(entry: FileEntry) -> FileResult:
        found = now.get(entry.path)
        if found is None:
            raise NotFound("the commit has no such file", provider="hf", operation=asked.operation)
        if found.bytes != entry.bytes:
            return FileResult(entry.path, False, "size", why=f"{found.bytes:,} bytes instead of {entry.bytes:,}")
        result = compare(entry, found)
        by = BLOB if result.by == "gitblob" else result.by
        if result.same is None:
            return FileResult(entry.path, None, why="the Hub has no checksum of the recorded kind")
        if result.same is False:
            return FileResult(entry.path, False, by, why=f"another {by}")
        if sha256_of(found) is not None and found.bytes:
            path = file_in_repository(place, manifest, entry.path)
            size = hub.read(place, commit, path, (0, 1), asked, entry.bytes).size
            if size != entry.bytes:
                return FileResult(entry.path, False, "size", why=f"{size:,} bytes instead of {entry.bytes:,}")
        return FileResult(entry.path, True, by, weak=not result.strong)

    return check
