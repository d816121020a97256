"""The provider of DVC: a version is a commit of git, of what DVC tracks under a path then.

The commit has the MD5 of each file, directly or by the list that a folder's MD5 stands for; files come from DVC's
cache, its remote, or the working tree where they are unchanged, and are compared by MD5 whenever they are read. MD5
proves against accident, not against intent. `dvc gc` may remove files although the commit names them: they are
missing then, by name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from mlflow_dsver._version import __version__
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import CorruptObject, NotFound
from mlflow_dsver.model.evidence import Checksum, FileEvidence
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest, check_path
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.model.refs import LATEST, DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.dvc.outs import Out, files_about, out_at
from mlflow_dsver.providers.dvc.storage import Found, Storage, whole
from mlflow_dsver.providers.file_checks import CheckFile, FileResult
from mlflow_dsver.providers.file_fetching import another
from mlflow_dsver.providers.file_provider import FileProvider, ReadFile
from mlflow_dsver.providers.git.mirror import has_ref_to, mirror_of
from mlflow_dsver.providers.git.places import place_of
from mlflow_dsver.providers.git.repository import Commit, is_oid, repository_of
from mlflow_dsver.providers.interface import Capability, Health
from mlflow_dsver.text import one_line

__all__ = ["DvcProvider"]

AT_ONCE = 32
"""Files that are looked up at the same time."""
KEPT = 4
"""Manifests that a process keeps in memory."""
MAX_LIST = 1 << 30
"""Bytes of the list of a folder's files at most."""

_manifests: dict[tuple[str, str, str], Manifest] = {}


class Tracked:
    """What a reference's name means: a path in a repository, and where DVC keeps its files."""

    def __init__(self, dataset: str) -> None:
        place = place_of(dataset)
        self.ref = DatasetRef(DvcProvider.name, dataset)
        self.root: Path | None = None
        if place.folder is None:
            self.repository, self.path = mirror_of(place), place.path
        else:
            self.repository, self.path = repository_of(Path(place.folder), self.ref)
            self.root = self.repository.folder
        self.is_mirror = place.folder is None

    def out(self, commit_id: str) -> Out:
        """What DVC tracks under the path at a commit. Raises NotFound."""
        found = out_at(self.repository, commit_id, self.path)
        if found is None:
            raise NotFound(
                f"DVC tracks nothing at {self.path or 'the root'!r} in this commit",
                provider=DvcProvider.name,
                operation="resolve",
                reference=self.ref.at(commit_id),
                tip=f"git://{self.ref.dataset} for files that git itself has",
            )
        return found

    def storage(self, commit_id: str) -> Storage:
        """Where the files are."""
        return Storage(self.repository, self.root, commit_id)


class DvcProvider(FileProvider):
    """What DVC tracks. progress: receives the progress of long operations."""

    name = "dvc"
    capabilities = frozenset({Capability.TAGS, Capability.BYTES, Capability.EVIDENCE})
    settings_prefixes = ("GIT_", "AWS_", "GOOGLE_", "AZURE_")

    def __init__(self, *, progress: Progress = SILENT) -> None:
        self.progress = progress

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The commit of that id. Its files are listed, unless DVC has lost the list of them."""
        tracked = Tracked(dataset)
        ref = tracked.ref.at(version)
        repository = tracked.repository
        commit = repository.commit(version) if is_oid(version) else None
        if commit is None or (tracked.is_mirror and not has_ref_to(repository, version)):
            raise self._lost(ref)
        out, manifest = tracked.out(version), None
        try:
            manifest = self._manifest(tracked, version, out)
        except NotFound:
            if not out.is_folder:
                raise
        return self._version(tracked, commit, repository.refs("tags"), out, manifest)

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """The commits in which the tracked content changed, newest first; with a tag the commit that has it."""
        tracked = Tracked(dataset)
        tags = tracked.repository.refs("tags")
        if tag is not None:
            if tag in tags:
                yield self.get(dataset, tags[tag])
            return
        found = False
        for commit, out in self._changes(tracked):
            found = True
            yield self._version(tracked, commit, tags, out, None)
        if not found:
            raise self._nowhere(tracked)

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """The commit that a branch, tag, id or its beginning means; `latest` is the newest that changed the files."""
        tracked = Tracked(ref.dataset)
        if ref.selector in (None, LATEST):
            newest = next(self._changes(tracked), None)
            if newest is None:
                raise self._nowhere(tracked)
            return self.get(ref.dataset, newest[0].id)
        assert ref.selector is not None
        commit_id = tracked.repository.commit_id(ref.selector)
        if commit_id is not None:
            return self.get(ref.dataset, commit_id)
        return super().resolve(ref)  # raises, with names that are near

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The same as `resolve`."""
        return self.resolve(ref)

    def grade(self, version: DatasetVersion) -> Grade:
        """B: the commit never changes, and names every file by its MD5."""
        plain = "MD5 by DVC" if version.raw.get("plain") is True else "MD5 by DVC 2 without line ends"
        return Grade("B", ("immutable by git commit", plain))

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The files of the version. Raises NotFound when DVC has the list of a folder's files no more."""
        tracked = Tracked(version.ref.dataset)
        return self._manifest(tracked, version.id, tracked.out(version.id))

    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """Reads from the cache, the remote or the working tree."""
        tracked = Tracked(version.ref.dataset)
        out, storage = tracked.out(version.id), tracked.storage(version.id)

        def read(entry: FileEntry, start: int, stop: int) -> bytes:
            found = _found(tracked, storage, out, entry)
            if found.size != entry.bytes:
                raise another(entry, version.ref, f"{entry.bytes:,} bytes", f"{found.size:,} bytes")
            if not out.plain:
                _check_legacy(entry, whole(found), version)
            return found.read(start, stop)

        return read

    def checker(self, version: DatasetVersion, manifest: Manifest) -> CheckFile:
        """Whether each file is in the cache, the remote or the working tree, in its size."""
        tracked = Tracked(version.ref.dataset)
        out, storage = tracked.out(version.id), tracked.storage(version.id)

        def check(entry: FileEntry) -> FileResult:
            found = _found(tracked, storage, out, entry)
            if found.size != entry.bytes:
                return FileResult(entry.path, False, "size", why=f"{found.size:,} bytes instead of {entry.bytes:,}")
            return FileResult(entry.path, True, "DVC's MD5 and size", weak=True)

        return check

    def elsewhere(self, version: DatasetVersion) -> str | None:
        """Why a repository that is not on this machine may be on another."""
        place = place_of(version.ref.dataset)
        if place.folder is not None and not Path(place.folder).parent.exists():
            return f"{one_line(place.folder, 200)} does not exist here; check on the machine that has the repository"
        return None

    def health(self) -> Health:
        """DVC is not needed; git is."""
        from mlflow_dsver.providers.git import GitProvider

        return GitProvider().health()

    def cache_key(self) -> None:
        """Not cached: a repository on this machine is asked faster than it takes to know whether it changed."""
        return

    def _changes(self, tracked: Tracked) -> Iterator[tuple[Commit, Out]]:
        """Commits in which the content under the path is another one than before, newest first."""
        head = tracked.repository.commit_id(None)
        newer: tuple[Commit, Out] | None = None
        for commit in tracked.repository.commits(head, files_about(tracked.path)) if head is not None else ():
            out = out_at(tracked.repository, commit.id, tracked.path)
            if newer is not None and (out is None or out.md5 != newer[1].md5):
                yield newer
            newer = (commit, out) if out is not None else None
        if newer is not None:
            yield newer

    def _manifest(self, tracked: Tracked, commit_id: str, out: Out) -> Manifest:
        key = str(tracked.repository.folder), commit_id, tracked.path
        found = _manifests.get(key)
        if found is None:
            found = _manifest_of(tracked, commit_id, out)
            while len(_manifests) >= KEPT:
                _manifests.pop(next(iter(_manifests)), None)
            _manifests[key] = found
        return found

    def _version(
        self, tracked: Tracked, commit: Commit, tags: dict[str, str], out: Out, manifest: Manifest | None
    ) -> DatasetVersion:
        made = DatasetVersion(
            tracked.ref.at(commit.id),
            tags=tuple(sorted(name for name, target in tags.items() if target == commit.id and name != LATEST)),
            message=commit.message or None,
            usage_bytes=out.size if out.path == tracked.path else None,
            created=commit.date,
            creator=commit.author or None,
            immutable=True,
            raw={**out._asdict(), "commit": commit.id, "author": commit.author},
        )
        if manifest is None:
            return made
        counts = {"files": len(manifest)}
        return replace(made, content_digest=manifest.digest, usage_bytes=manifest.total_bytes, counts=counts)

    def _lost(self, ref: DatasetRef) -> NotFound:
        why = "its history may have been rewritten, or it was never fetched"
        return self._not_found(ref, f"the repository does not have this commit: {why}", "git fetch in the repository")

    def _nowhere(self, tracked: Tracked) -> NotFound:
        what = f"DVC tracks nothing at {tracked.path or 'the root'!r} in any commit of the repository"
        return self._not_found(tracked.ref, what, f"git://{tracked.ref.dataset} for files that git itself has")


def _manifest_of(tracked: Tracked, commit_id: str, out: Out) -> Manifest:
    storage = tracked.storage(commit_id)
    ref = tracked.ref.at(commit_id)
    if not out.is_folder:
        size = out.size
        if size is None:
            size = _listed(storage, out.md5, out.path, ref, plain=out.plain).size
        names = [(out.path.rpartition("/")[2], out.md5, size)]
    else:
        listed = _below(_folder(storage, out, ref), tracked.path[len(out.path) + 1 :])
        with ThreadPoolExecutor(AT_ONCE, "mlflow-dsver-dvc") as pool:
            sizes = pool.map(
                lambda each: _listed(storage, each[2], f"{out.path}/{each[1]}", ref, plain=out.plain).size, listed
            )
            names = [(path, md5, size) for (path, _, md5), size in zip(listed, sizes, strict=True)]
    entries = tuple(sorted(_entry(path, md5, size, out.plain) for path, md5, size in names))
    if not entries:
        raise NotFound("the tracked folder has no file at this path", provider="dvc", operation="list", reference=ref)
    return Manifest(
        entries, {"by": f"mlflow-dsver {__version__}", "commit": commit_id, "out": out.path, "md5": out.md5}
    )


def _below(files: list[tuple[str, str]], inside: str) -> list[tuple[str, str, str]]:
    """The files at or below a path inside a tracked folder: their names there, their whole paths, and MD5s."""
    if not inside:
        return [(path, path, md5) for path, md5 in files]
    for path, md5 in files:
        if path == inside:
            return [(path.rpartition("/")[2], path, md5)]
    return [(path[len(inside) + 1 :], path, md5) for path, md5 in files if path.startswith(f"{inside}/")]


def _folder(storage: Storage, out: Out, ref: DatasetRef) -> list[tuple[str, str]]:
    """The paths and MD5s of a folder's files, from the list that its MD5 stands for."""
    found = storage.find(out.md5, out.path, ".dir")
    if found is None or found.size > MAX_LIST:
        raise NotFound(
            "DVC has the list of the folder's files neither in its cache nor in its remote",
            provider="dvc",
            operation="list the files",
            reference=ref,
            expected=f"{out.md5}.dir",
            got=storage.places(),
            tip="dvc pull in the repository",
        )
    content = whole(found)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != out.md5:
        raise CorruptObject("DVC's list of the folder's files is damaged", reference=ref, expected=f"{out.md5}.dir")
    try:
        return [(check_path(each["relpath"]), _hex(each["md5"])) for each in json.loads(content)]
    except (ValueError, TypeError, KeyError, InvalidManifest) as error:
        raise CorruptObject(
            "DVC's list of the folder's files cannot be read", reference=ref, got=one_line(error, 100)
        ) from error


def _hex(text: str) -> str:
    if len(text) != 32 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"not an MD5: {ascii(text)[:60]}")
    return text


def _entry(path: str, md5: str, size: int, plain: bool) -> FileEntry:
    """plain: whether it is the MD5 of the bytes; another one is kept as an ETag, which proves as little as that."""
    if plain:
        return file_entry(path, size, FileEvidence((Checksum("md5", md5, by="provider"),)))
    return file_entry(path, size, FileEvidence(etag=md5))


def md5_of(entry: FileEntry) -> str:
    """DVC's MD5 of a file, of the manifest of a version or of one that a run recorded."""
    evidence = entry.evidence or FileEvidence()
    return _hex(next((each.value for each in evidence.checksums if each.algorithm == "md5"), evidence.etag or ""))


def _listed(storage: Storage, md5: str, name: str, ref: DatasetRef, *, plain: bool) -> Found:
    found = storage.find(md5, name, plain=plain)
    if found is None:
        raise NotFound(
            f"DVC has the file {one_line(name, 200)} neither in its cache nor in its remote",
            provider="dvc",
            operation="list the files",
            reference=ref,
            expected=f"MD5 {md5}",
            got=storage.places(),
            tip="dvc pull in the repository",
        )
    return found


def _found(tracked: Tracked, storage: Storage, out: Out, entry: FileEntry) -> Found:
    try:
        md5 = md5_of(entry)
    except ValueError as error:
        raise another(entry, tracked.ref, "an MD5 of DVC", "none") from error
    is_file = not out.is_folder or tracked.path.endswith(f"/{entry.path}")
    name = tracked.path if is_file else f"{tracked.path}/{entry.path}"
    return _listed(storage, md5, name, tracked.ref, plain=out.plain)


def _check_legacy(entry: FileEntry, content: bytes, version: DatasetVersion) -> None:
    """Compare a file of DVC 2, whose MD5 is that of the bytes, or of the text with the line ends of Unix."""
    both = (content, content.replace(b"\r\n", b"\n"))
    if md5_of(entry) not in [hashlib.md5(each, usedforsecurity=False).hexdigest() for each in both]:
        raise another(entry, version.ref, f"DVC's MD5 {md5_of(entry)}", "another")
