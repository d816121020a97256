"""Finds files by their MD5: in DVC's cache, in its default remote, and in the working tree where they are unchanged.

A remote is a folder, or a prefix in S3, Google Cloud Storage or Azure; others are left to `dvc pull`. DVC 3 keeps
`files/md5/ab/cdef…`, DVC 2 `ab/cdef…`; both are looked for. Bytes are compared by whoever reads them.
"""

from __future__ import annotations

import configparser
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

from mlflow_dsver import settings
from mlflow_dsver.errors import NotFound, StoreError
from mlflow_dsver.providers.buckets.connect import Location, object_store, storage_errors
from mlflow_dsver.providers.git.repository import GitFailed, Repository
from mlflow_dsver.text import one_line

BUCKETS = {"s3": "s3", "gs": "gs", "azure": "az", "az": "az"}
"""Schemes of remotes in object storage, with the provider of each."""


class Found(NamedTuple):
    """A file that is there. size: in bytes. read: its bytes from one offset to another."""

    size: int
    read: Callable[[int, int], bytes]


class Storage:
    """Where DVC keeps the files of a repository. root: the working tree; None for a mirror, which has none."""

    def __init__(self, repository: Repository, root: Path | None, commit_id: str) -> None:
        self._repository, self._root, self._commit_id = repository, root, commit_id

    def find(self, md5: str, name: str, suffix: str = "", *, plain: bool = True) -> Found | None:
        """A file by its MD5. name: its path in the repository. suffix: `.dir` for the list of a folder's files."""
        for folder in self._folders:
            for key in _keys(md5, suffix):
                path = folder / key
                if path.is_file():
                    return _file(path)
        for location in self._locations:
            for key in _keys(md5, suffix):
                found = _object(location, location.key(key))
                if found is not None:
                    return found
        if self._root is not None and not suffix and plain:
            path = self._root / name
            if path.is_file() and not path.is_symlink() and _md5(path) == md5:
                return _file(path)
        return None

    def places(self) -> str:
        """Where files are looked for, for a message."""
        shown = [one_line(folder, 120) for folder in self._folders] + [each.uri for each in self._locations]
        return ", ".join(shown) or "no cache and no remote"

    @cached_property
    def _folders(self) -> list[Path]:
        folders = []
        if self._root is not None:
            own = self._setting("cache", "dir")
            base = self._root / ".dvc"
            folders.append(base / own if own else base / "cache")
        url = self._remote
        if url is not None and "://" not in url:
            folders.append((self._root / ".dvc" / url) if self._root is not None else Path(url))
        return folders

    @cached_property
    def _locations(self) -> list[Location]:
        scheme, separator, rest = (self._remote or "").partition("://")
        if not separator:
            return []
        if scheme not in BUCKETS:
            return []
        bucket, _, prefix = rest.partition("/")
        return [Location(BUCKETS[scheme], bucket, prefix.strip("/"))]

    @cached_property
    def _remote(self) -> str | None:
        """The address of the default remote; None for none."""
        name = self._setting("core", "remote")
        return self._setting(f"'remote \"{name}\"'", "url") if name else None

    @cached_property
    def _configs(self) -> list[configparser.ConfigParser]:
        """DVC's settings, those that count first at the beginning."""
        found = []
        for content in self._texts():
            parser = configparser.ConfigParser(interpolation=None, strict=False)
            with suppress(configparser.Error):
                parser.read_string(content)
                found.append(parser)
        return found

    def _texts(self) -> Iterator[str]:
        paths = [settings.expanded("~/.config/dvc/config", "HOME")]
        if self._root is not None:
            paths = [self._root / ".dvc" / "config.local", self._root / ".dvc" / "config", *paths]
        else:
            with suppress(GitFailed):
                yield (self._repository.content(self._commit_id, ".dvc/config") or b"").decode(errors="replace")
        for path in paths:
            with suppress(OSError):
                yield path.read_text(encoding="utf-8", errors="replace")

    def _setting(self, section: str, name: str) -> str | None:
        return next((each[section][name] for each in self._configs if each.has_option(section, name)), None)


def whole(found: Found) -> bytes:
    """All bytes of a file."""
    return found.read(0, found.size)


def _keys(md5: str, suffix: str) -> tuple[str, str]:
    return f"files/md5/{md5[:2]}/{md5[2:]}{suffix}", f"{md5[:2]}/{md5[2:]}{suffix}"


def _file(path: Path) -> Found:
    return Found(path.stat().st_size, partial(_read, path))


def _read(path: Path, start: int, stop: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(stop - start)
    except OSError as error:
        raise StoreError(f"{one_line(path, 300)} cannot be read: {error.strerror}") from error


def _object(location: Location, key: str) -> Found | None:
    import obstore

    store = object_store(location)
    try:
        with storage_errors(location, "look for a file", key):
            size = obstore.head(store, key)["size"]
    except NotFound:
        return None

    def read(start: int, stop: int) -> bytes:
        if start == stop:
            return b""
        with storage_errors(location, "fetch", key):
            return bytes(obstore.get_range(store, key, start=start, end=stop))

    return Found(size, read)


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, partial(hashlib.md5, usedforsecurity=False)).hexdigest()
