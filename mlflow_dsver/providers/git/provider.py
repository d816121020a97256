"""The provider of git repositories: a version is a commit, of the files at or below a path.

Branches, tags, short ids and `latest` (HEAD, or another machine's default branch) are resolved to the whole id of a
commit. What a working tree has uncommitted is not part of any version. The grade is B: a commit never changes, as far
as SHA-1 goes; files kept by git-LFS have a SHA-256. A commit can be lost, by a force push and a collection of
garbage, and is then NotFound.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import DsverError, NotFound
from mlflow_dsver.model.evidence import FileEvidence
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.file_checks import CheckFile, FileResult
from mlflow_dsver.providers.file_fetching import another
from mlflow_dsver.providers.file_provider import FileProvider, ReadFile
from mlflow_dsver.providers.git import lfs, listing
from mlflow_dsver.providers.git.large_files import LargeFiles
from mlflow_dsver.providers.git.mirror import has_ref_to, mirror_of
from mlflow_dsver.providers.git.places import Place, place_of
from mlflow_dsver.providers.git.repository import Blobs, Commit, Repository, is_oid, repository_of
from mlflow_dsver.providers.interface import Capability, Health
from mlflow_dsver.text import one_line

__all__ = ["GitProvider"]

KEPT = 4
"""Manifests that a process keeps in memory; a commit never changes."""
SEARCHED = 200
"""Names that are searched for one like that which was not found."""

_manifests: dict[tuple[str, str, str], Manifest] = {}


class GitProvider(FileProvider):
    """Folders and files of git repositories. progress: receives the progress of long operations."""

    name = "git"
    capabilities = frozenset({Capability.TAGS, Capability.BYTES, Capability.EVIDENCE})
    settings_prefixes = ("GIT_",)

    def __init__(self, *, progress: Progress = SILENT) -> None:
        self.progress = progress

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The commit of that id, with its files listed. Raises NotFound, also for one that no ref leads to."""
        ref = DatasetRef(self.name, dataset, version)
        repository, path, place = self._open(dataset)
        commit = repository.commit(version) if is_oid(version) else None
        if commit is None or (place.folder is None and not has_ref_to(repository, version)):
            raise self._lost(ref) if is_oid(version) else self._not_found(ref, "not the id of a commit")
        manifest = self._manifest(repository, version, path, ref)
        return self._version(ref, commit, self._tags(repository), manifest, place, path)

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """The commits that changed the files, newest first, unlisted; with a tag the commit that has it."""
        ref = DatasetRef(self.name, dataset)
        repository, path, place = self._open(dataset)
        tags = self._tags(repository)
        if tag is not None:
            if tag in tags:
                yield self.get(dataset, tags[tag])
            return
        found = False
        for commit in self._commits(repository, path):
            found = True
            if next(repository.files(commit.id, path), None) is not None:
                yield self._version(ref.at(commit.id), commit, tags, None, place, path)
        if not found:
            raise self._nowhere(ref, path)

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """The commit that a branch, tag, id or its beginning means; `latest` is the newest that changed the files."""
        repository, path, _ = self._open(ref.dataset)
        if ref.selector in (None, LATEST):
            found = next(self._commits(repository, path), None)
            if found is None:
                raise self._nowhere(ref, path)
            return self.get(ref.dataset, found.id)
        assert ref.selector is not None
        commit_id = repository.commit_id(ref.selector)
        if commit_id is None:
            ids = [each.id for each in islice(self._commits(repository, path), SEARCHED)]
            if not ids:
                raise self._nowhere(ref, path)
            names = [*self._tags(repository), *repository.refs("heads"), *ids][: 2 * SEARCHED]
            near = ", ".join(str(ref.at(name)) for name in nearest(ref.selector, names))
            if is_oid(ref.selector):
                raise self._lost(ref, near)
            raise self._not_found(ref, "no such branch, tag or commit", near or None)
        return self.get(ref.dataset, commit_id)

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The same as `resolve`."""
        return self.resolve(ref)

    def grade(self, version: DatasetVersion) -> Grade:
        """B, and what the identity of files rests on where they were listed."""
        text = version.raw.get("grade")
        return Grade.parse(text) if isinstance(text, str) else Grade("B", ("immutable by git commit",))

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The files of the commit."""
        repository, path, _ = self._open(version.ref.dataset)
        return self._manifest(repository, version.id, path, version.ref)

    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """Reads blobs, and the files that git-LFS keeps."""
        repository, _, place = self._open(version.ref.dataset)
        large_files, blobs = LargeFiles(repository, place, version.ref), Blobs(repository)
        kept: dict[str, bytes] = {}

        def read(entry: FileEntry, start: int, stop: int) -> bytes:
            sha256, oid = _names(entry)
            if sha256 is not None:
                return large_files.read(lfs.Pointer(sha256, entry.bytes), entry.path, start, stop)
            content = kept.get(oid)
            if content is None:
                content = blobs.read(oid)
                if content is None:
                    raise _gone(entry, version)
                if stop - start < entry.bytes:  # a large file is read in parts, from several threads
                    kept.clear()
                    kept[oid] = content
            if len(content) != entry.bytes:
                raise another(entry, version.ref, f"{entry.bytes:,} bytes", f"{len(content):,} bytes")
            return content[start:stop]

        return read

    def checker(self, version: DatasetVersion, manifest: Manifest) -> CheckFile:
        """Whether the repository has each blob, and git-LFS each file, in the recorded size."""
        repository, _, place = self._open(version.ref.dataset)
        large_files, blobs = LargeFiles(repository, place, version.ref), Blobs(repository, sizes=True)

        def check(entry: FileEntry) -> FileResult:
            sha256, oid = _names(entry)
            size, by = blobs.size(oid) if sha256 is None else None, "the id of git's object"
            if sha256 is not None:
                size, by = large_files.size(lfs.Pointer(sha256, entry.bytes), entry.path), "git-LFS's name and size"
            if size is None:
                raise _gone(entry, version)
            if size != entry.bytes:
                return FileResult(entry.path, False, "size", why=f"{size:,} bytes instead of {entry.bytes:,}")
            return FileResult(entry.path, True, by, weak=True)

        return check

    def place(self, version: DatasetVersion) -> str:
        """The name alone: a commit's id is the same everywhere."""
        return str(version.ref.at(None))

    def elsewhere(self, version: DatasetVersion) -> str | None:
        """Why a repository that is not on this machine may be on another."""
        place = place_of(version.ref.dataset)
        if place.folder is not None and not Path(place.folder).exists():
            return f"{one_line(place.folder, 200)} does not exist here; check on the machine that has the repository"
        return None

    def health(self) -> Health:
        """Which git is installed; no repository is asked."""
        try:
            found = Repository(Path("/")).run("--version").decode().strip()
        except DsverError as error:
            return Health.not_installed("git", one_line(error, 300))
        return Health(True, one_line(found, 100), {})

    def cache_key(self) -> None:
        """Not cached: a repository on this machine is asked faster than it takes to know whether it changed."""
        return

    def _open(self, dataset: str) -> tuple[Repository, str, Place]:
        """The repository that a name means, and the path below it."""
        place = place_of(dataset)
        if place.folder is None:
            return mirror_of(place), place.path, place
        repository, path = repository_of(Path(place.folder), DatasetRef(self.name, dataset))
        return repository, path, place

    def _tags(self, repository: Repository) -> dict[str, str]:
        return {name: commit for name, commit in repository.refs("tags").items() if name != LATEST}

    def _manifest(self, repository: Repository, commit_id: str, path: str, ref: DatasetRef) -> Manifest:
        key = str(repository.folder), commit_id, path
        found = _manifests.get(key)
        if found is None:
            found = listing.manifest_of(repository, commit_id, path, ref)
            while len(_manifests) >= KEPT:
                _manifests.pop(next(iter(_manifests)), None)
            _manifests[key] = found
        return found

    def _version(
        self,
        ref: DatasetRef,
        commit: Commit,
        tags: dict[str, str],
        manifest: Manifest | None,
        place: Place,
        path: str,
    ) -> DatasetVersion:
        raw: dict[str, Any] = {"commit": commit.id, "author": commit.author, "message": commit.message, "path": path}
        if manifest is not None:
            raw["grade"] = str(listing.grade_of(manifest))
        page = f"https://github.com/{place.repository.removesuffix('.git')}/tree/{commit.id}/{path}".rstrip("/")
        return DatasetVersion(
            ref,
            tags=tuple(sorted(name for name, target in tags.items() if target == commit.id)),
            message=commit.message or None,
            usage_bytes=None if manifest is None else manifest.total_bytes,
            content_digest=None if manifest is None else manifest.digest,
            created=commit.date,
            creator=commit.author or None,
            immutable=True,
            counts={} if manifest is None else {"files": len(manifest)},
            web_url=page if place.host == "github.com" else None,
            raw=raw,
        )

    def _commits(self, repository: Repository, path: str) -> Iterator[Commit]:
        head = repository.commit_id(None)
        return repository.commits(head, [path] if path else []) if head is not None else iter(())

    def _nowhere(self, ref: DatasetRef, path: str) -> NotFound:
        return self._not_found(ref, f"no commit of the repository has a file at {path or 'its root'!r}")

    def _lost(self, ref: DatasetRef, near: str = "") -> NotFound:
        return self._not_found(
            ref,
            "the repository does not have this commit: its history may have been rewritten (a force push, a "
            "collection of garbage), or it was never fetched",
            near or "git fetch in the repository",
        )


def _names(entry: FileEntry) -> tuple[str | None, str]:
    """The SHA-256 by which git-LFS keeps a file, None for a file that git keeps; and the id of git's object."""
    evidence = entry.evidence or FileEvidence()
    known = {each.algorithm: each.value for each in evidence.checksums}
    oid = known.get("gitblob") or evidence.version or ""
    return known.get("sha256"), oid if is_oid(oid) else "0" * 40


def _gone(entry: FileEntry, version: DatasetVersion) -> NotFound:
    return NotFound(
        f"the repository does not have the file {one_line(entry.path, 200)}",
        provider="git",
        operation="read a file",
        reference=version.ref,
        tip="git fsck, or git fetch",
    )
