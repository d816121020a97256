"""Reads the objects of a commit, and compares a recorded file with what lakeFS and the object store have now.

lakeFS answers `stat` from the commit alone: garbage collection removes objects although a tag or a commit still names
them, and only a request for bytes shows it. The bytes of an imported object are those of its source now; the ETag of
the source, seen through a presigned address where the server gives one, shows that it was overwritten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from mlflow_dsver.errors import AuthenticationFailed, CorruptObject, NotFound, ProviderError, ProviderUnavailable
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.providers.file_checks import CheckFile, FileResult
from mlflow_dsver.providers.file_fetching import ReadFile, another
from mlflow_dsver.providers.lakefs.info import Place
from mlflow_dsver.providers.lakefs.listing import Listing, list_files, path_in_repository
from mlflow_dsver.providers.lakefs.server import Asked, Part, Server
from mlflow_dsver.text import one_line

GONE = "the bytes are gone, though the commit lists the file: garbage collection, perhaps"


def reader_of(
    server: Server, place: Place, commit: str, manifest: Manifest, imported: Callable[[], frozenset[str]], ref: object
) -> ReadFile:
    """A function that reads a file of a commit from one byte to another. imported: asked for when it is needed."""
    asked = Asked("fetch", ref)
    some = manifest.made.get("imported") != 0

    def read(entry: FileEntry, start: int, stop: int) -> bytes:
        whole = (start, stop) == (0, entry.bytes)
        path = path_in_repository(place, manifest, entry.path)
        outside = some and entry.path in imported()
        part = _read(server, place, commit, path, None if whole else (start, stop), asked, outside)
        if part.size != entry.bytes:
            raise another(entry, ref, f"{entry.bytes:,} bytes", f"{part.size:,} bytes")
        etag = entry.evidence.etag if entry.evidence else None
        if outside and None not in (part.etag, etag) and part.etag != etag:
            if whole and hashlib.md5(part.content, usedforsecurity=False).hexdigest() == etag:
                return part.content  # copied anew as it was, by a store whose ETags are not alike
            raise another(entry, ref, f"the ETag {one_line(etag, 80)}", one_line(part.etag, 80))
        return part.content

    return read


def checker_of(
    server: Server, place: Place, commit: str, manifest: Manifest, namespace: str, ref: object
) -> CheckFile:
    """A function that compares an entry with the commit's listing, and asks for one of its bytes."""
    asked = Asked("check the files", ref)
    now = list_files(server, place, commit, namespace, ref)
    known = {entry.path: entry for entry in now.manifest.entries}

    def check(entry: FileEntry) -> FileResult:
        found = known.get(entry.path)
        if found is None:
            raise NotFound("the commit has no such file", provider="lakefs", operation=asked.operation)
        if found.bytes != entry.bytes:
            return FileResult(entry.path, False, "size", why=f"{found.bytes:,} bytes instead of {entry.bytes:,}")
        etags = [each.evidence.etag if each.evidence else None for each in (entry, found)]
        if None in etags:
            return FileResult(entry.path, None, why="lakeFS has no checksum of the file")
        if etags[0] != etags[1]:
            return FileResult(entry.path, False, "ETag", why="another ETag")
        return _check_bytes(server, place, commit, (now, entry), asked)

    return check


def _check_bytes(
    server: Server, place: Place, commit: str, file: tuple[Listing, FileEntry], asked: Asked
) -> FileResult:
    listing, entry = file
    path = path_in_repository(place, listing.manifest, entry.path)
    outside = entry.path in listing.imported
    try:
        part = _read(server, place, commit, path, (0, 1) if entry.bytes else None, asked, outside)
    except NotFound:
        return FileResult(entry.path, None, missing=True, why=GONE)
    except CorruptObject:
        part = Part(b"", -1)
    if part.size != entry.bytes:
        return FileResult(entry.path, False, "size", why="its bytes are of another size than the commit says")
    if not outside:
        return FileResult(entry.path, True, "ETag", weak=True)
    etag = entry.evidence.etag if entry.evidence else None
    if part.etag is None:
        why = "imported, and lakeFS does not say whether it changed at its source: read it to know"
        return FileResult(entry.path, None, why=why)
    if part.etag != etag:
        return FileResult(entry.path, False, "ETag", why="imported, and overwritten at its source: another ETag")
    return FileResult(entry.path, True, "ETag", weak=True)


def _read(
    server: Server, place: Place, commit: str, path: str, span: tuple[int, int] | None, asked: Asked, outside: bool
) -> Part:
    """outside: an imported object, which is asked of its own store where the server gives a presigned address."""
    try:
        if outside:
            try:
                return server.read(place, commit, path, span, asked, presign=True)
            except (NotFound, AuthenticationFailed):
                raise
            except ProviderError:
                pass  # not every block store presigns
        return server.read(place, commit, path, span, asked)
    except NotFound as error:
        raise NotFound(f"{GONE}: {one_line(path, 200)}", provider="lakefs", operation=asked.operation,
                       reference=asked.reference, status=error.status) from error  # fmt: skip
    except ProviderUnavailable as error:
        if error.status == 500 and "NoSuchKey" in str(error.got):  # lakeFS passes some stores' answers on
            raise NotFound(f"{GONE}: {one_line(path, 200)}", provider="lakefs", operation=asked.operation,
                           reference=asked.reference, status=500) from error  # fmt: skip
        raise
