"""A base of providers whose version is a manifest and a way to read each of its files.

Such a provider brings `manifest` and `reader`, and `checker` where its store says something of each file. Folders,
streams, the copy in the cache and checks of many files are made of these.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import nearest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers import fetched_copies, file_checks
from mlflow_dsver.providers.file_fetching import ReadFile, fetch_folder, read_part
from mlflow_dsver.providers.file_streams import open_stream
from mlflow_dsver.providers.interface import Capability, FileCheck, LocalCopy, Provider

__all__ = ["FileProvider", "ReadFile"]


class _Opened(NamedTuple):
    """A version that files were opened of."""

    place: str
    version: tuple[str, str | None]
    manifest: Manifest
    entries: Mapping[str, FileEntry]


_last: _Opened | None = None


class FileProvider(Provider):
    """A provider whose version is a manifest and a way to read each file of it."""

    @abstractmethod
    def manifest(self, version: DatasetVersion) -> Manifest:
        """The version's manifest."""

    @abstractmethod
    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """How a file of `manifest` is read, of exactly its recorded state."""

    def place(self, version: DatasetVersion) -> str:
        """What tells the version's files from those of other servers; by default its dataset alone."""
        return str(version.ref.at(None))

    def checker(self, version: DatasetVersion, manifest: Manifest) -> file_checks.CheckFile | None:
        """What the store says of one file now, without its bytes; None where it says nothing. Capability EVIDENCE."""
        return None

    def store_checksums(self, version: DatasetVersion, manifest: Manifest) -> file_checks.StoreChecksums | None:
        """How the store is asked for the checksums of a file whose entry has none; None where it has none."""
        return None

    def has_store_evidence(self, version: DatasetVersion) -> bool:
        """Whether the store describes each file."""
        return Capability.EVIDENCE in self.capabilities

    def check_files(
        self, version: DatasetVersion, entries: Sequence[FileEntry], manifest: Manifest, *, read: bool
    ) -> FileCheck | None:
        """Compare files with what the store says of each now, and their bytes when `read`."""
        check = self.checker(version, manifest)
        if check is None:
            return None
        content = None
        if read:
            content = file_checks.Bytes(self.reader(version, manifest), self.store_checksums(version, manifest))
        return file_checks.check_files(entries, check, self.progress, version.ref, content)

    def local_copy(self, version: DatasetVersion) -> LocalCopy | None:
        """The fetched copy, with the manifest that it had when it arrived; None when there is none."""
        digest = version.content_digest or self.manifest(version).digest
        return fetched_copies.copy_of(self.place(version), digest)

    def path(self, version: DatasetVersion) -> Path:
        """A folder with the files, fetched once to the cache and checked whenever it is given out."""
        manifest = self.manifest(version)
        read = self.reader(version, manifest)
        return fetched_copies.folder_of(self.place(version), version, manifest, read, self.progress)

    def materialise(self, version: DatasetVersion, folder: Path) -> None:
        """Fetch exactly the recorded files into a new or empty folder; after a kill, call it again."""
        manifest = self.manifest(version)
        fetch_folder(manifest, self.reader(version, manifest), Path(folder), self.progress, version.ref)

    def open(self, version: DatasetVersion, path: str) -> BinaryIO:
        """A stream of one file, in exactly its recorded state."""
        opened = self._opened(version)
        entry = opened.entries.get(path)
        if entry is None:
            near = nearest(path, list(islice(opened.entries, 10_000)))
            raise self._not_found(version.ref, f"this version has no file {path[:200]!r}", ", ".join(near) or None)
        read = self.reader(version, opened.manifest)
        return open_stream(
            entry.bytes, lambda start, stop: bytes(read_part(read, entry, start, stop, version.ref)), path
        )

    def _opened(self, version: DatasetVersion) -> _Opened:
        """The entries of a version by path; those of the last one are kept, since many files are opened of one."""
        global _last
        found, place, key = _last, self.place(version), (str(version.ref), version.content_digest)
        if found is None or (found.place, found.version) != (place, key):
            manifest = self.manifest(version)
            found = _last = _Opened(place, key, manifest, {entry.path: entry for entry in manifest.entries})
        return found
