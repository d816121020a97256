"""The files that git-LFS keeps for a repository: on this machine, else from the server of the repository."""

from __future__ import annotations

from pathlib import Path

from mlflow_dsver.errors import CorruptObject, InvalidReference, NotFound
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.git import lfs, lfs_server
from mlflow_dsver.providers.git.places import Place, place_of, spelled
from mlflow_dsver.providers.git.repository import Repository
from mlflow_dsver.text import one_line


class LargeFiles:
    """Files of git-LFS. ref: for errors."""

    def __init__(self, repository: Repository, place: Place, ref: DatasetRef) -> None:
        self._folder, self._ref = repository.git_folder(), ref
        self._address = place.address if place.folder is None else _origin(repository)

    def read(self, pointer: lfs.Pointer, name: str, start: int, stop: int) -> bytes:
        """Bytes of a file from one offset to another. Raises NotFound, naming it, when nothing has it."""
        path = self._path(pointer)
        if path is None:
            if self._address is None:
                raise self._gone(name)
            path = lfs_server.fetch(self._address, pointer, self._ref)
        try:
            with path.open("rb") as stream:
                stream.seek(start)
                return stream.read(stop - start)
        except OSError as error:
            raise CorruptObject(
                f"the file {one_line(name, 200)} cannot be read", reference=self._ref, got=error.strerror
            ) from error

    def size(self, pointer: lfs.Pointer, name: str) -> int:
        """The size of a file; the server is asked whether it has one that is not on this machine."""
        path = self._path(pointer)
        if path is not None:
            return path.stat().st_size
        if self._address is None:
            raise self._gone(name)
        lfs_server.where(self._address, pointer, self._ref)
        return pointer.size

    def _path(self, pointer: lfs.Pointer) -> Path | None:
        paths = (lfs.object_path(self._folder, pointer.sha256), lfs_server.cached_path(pointer.sha256))
        return next((path for path in paths if path.is_file()), None)

    def _gone(self, name: str) -> NotFound:
        return NotFound(
            f"git-LFS has not fetched the file {one_line(name, 200)}",
            provider="git",
            operation="read a file",
            reference=self._ref,
            tip="git lfs fetch in the repository",
        )


def _origin(repository: Repository) -> str | None:
    """The https address of the repository that a checkout was cloned from; None for a folder, and for none."""
    found = spelled(repository.origin() or "")
    try:
        place = place_of(found[0]) if found is not None else None
    except InvalidReference:
        return None
    return place.address if place is not None and place.folder is None else None
