"""The objects of a commit, as lakeFS lists them, as a manifest.

lakeFS' checksum is the MD5 of what was uploaded through it, and the ETag of the object store for what was imported or
uploaded there; the listing does not say which. So it is an ETag here. An imported object lies outside of the
repository's storage namespace, and lakeFS does not keep it from changing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mlflow_dsver._version import __version__
from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.evidence import MAX_TEXT, FileEvidence
from mlflow_dsver.model.manifests import MAX_SIZE, FileEntry, InvalidManifest, Manifest, check_path, gc_paused
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.model.versions import Grade
from mlflow_dsver.providers.lakefs.info import NAME, Place
from mlflow_dsver.providers.lakefs.server import Asked, Server
from mlflow_dsver.text import human_count

MAX_FILES = 8_000_000


class Listing(NamedTuple):
    """The files of a commit. imported: paths of those whose bytes are outside of the repository's storage."""

    manifest: Manifest
    imported: frozenset[str]

    @property
    def grade(self) -> Grade:
        """B, and C where objects may change at their source."""
        if self.imported:
            count = human_count(len(self.imported), "imported object")
            return Grade("C", (f"{count} may change at the source",))
        return Grade("B", ("immutable by commit", "ETag by lakeFS"))


def list_files(server: Server, place: Place, commit: str, namespace: str, reference: object) -> Listing:
    """The files at a commit, at or below the place's path. namespace: the repository's storage.

    Raises NotFound when the commit or the path is not there.
    """
    asked = Asked("list the files", reference)
    with gc_paused():
        found = dict(_below(server, place, commit, asked))
        single = bool(place.path) and not found
        if single:
            path = ("repositories", place.repository, "refs", commit, "objects", "stat")
            item = server.json(path, asked, {"path": place.path, "user_metadata": "false"})
            found = {place.path.rpartition("/")[2]: item}
        entries, imported = [], set()
        for path_in in sorted(found):
            entries.append(_entry(server, path_in, found[path_in], asked))
            if not _is_managed(str(found[path_in].get("physical_address")), namespace):
                imported.add(path_in)
        _check_folders(server, {each.path for each in entries}, asked)
    made: dict[str, Any] = {
        "by": f"mlflow-dsver {__version__}",
        "listed": "lakeFS' objects",
        "repository": place.repository,
        "commit": commit,
        "file": place.path if single else None,
        "imported": len(imported),
        "include": [],
        "exclude": [],
    }
    return Listing(Manifest(tuple(entries), made), frozenset(imported))


def _is_managed(address: str, namespace: str) -> bool:
    """Whether an object is in the repository's storage. A server's own disk is told with the path of its root."""
    scheme, _, name = namespace.rstrip("/").partition("://")
    if scheme == "local":
        return address.startswith("local://") and f"/{name}/data/" in address
    return address.startswith(f"{scheme}://{name}/")


def path_in_repository(place: Place, manifest: Manifest, path: str) -> str:
    """The path from the repository's root of a file of the manifest."""
    if place.path and manifest.made.get("file") == place.path:
        return place.path
    return f"{place.path}/{path}" if place.path else path


def _below(server: Server, place: Place, commit: str, asked: Asked) -> Iterator[tuple[str, dict[str, Any]]]:
    prefix = f"{place.path}/" if place.path else ""
    path = ("repositories", place.repository, "refs", commit, "objects", "ls")
    last = ""
    query = {"prefix": prefix, "user_metadata": "false"}
    for count, item in enumerate(server.pages(path, asked, query), 1):
        name = item.get("path")
        if count > MAX_FILES:
            raise server.unexpected(f"more than {MAX_FILES:,} objects", asked)
        if not isinstance(name, str) or not name.startswith(prefix) or item.get("path_type") != "object":
            raise server.unexpected("a listing with something that was not asked for", asked, name)
        if name == last:
            raise server.unexpected("a listing that has an object twice", asked, name)
        last = name
        if not (name.endswith("/") and item.get("size_bytes") in (0, None)):  # marks a folder for some tools
            yield name[len(prefix) :], item


def _entry(server: Server, path: str, item: dict[str, Any], asked: Asked) -> FileEntry:
    size, checksum, mtime = item.get("size_bytes"), item.get("checksum"), item.get("mtime")
    try:
        check_path(path)
        if type(size) is not int or not 0 <= size < MAX_SIZE or type(mtime) is not int:
            raise ValueError("no size or date")
        if not isinstance(checksum, str) or len(checksum) > MAX_TEXT or not checksum.isprintable():
            raise ValueError("no checksum")
        modified = datetime.fromtimestamp(mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError, InvalidManifest) as error:
        raise server.unexpected(f"an object that cannot be a file: {error}", asked, path) from error
    return file_entry(path, size, FileEvidence(etag=checksum.strip('"') or None, modified=modified))


def _check_folders(server: Server, paths: set[str], asked: Asked) -> None:
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in paths:
                raise server.unexpected("an object that lies in a folder that is an object", asked, path)
            parent = parent.rpartition("/")[0]


def no_commit(reference: object, operation: str) -> NotFound:
    """The error for a commit that the repository does not have."""
    return NotFound(
        "the repository does not have this commit: it was deleted and made anew under the same name, perhaps, or the "
        "commit never was in it",
        provider=NAME,
        operation=operation,
        reference=reference,
    )
