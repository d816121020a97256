"""Makes manifests of commits: the files below a path, links followed, and git-LFS pointers as what they stand for."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from mlflow_dsver._version import __version__
from mlflow_dsver.errors import ContentError, NotFound
from mlflow_dsver.model.evidence import Checksum, FileEvidence
from mlflow_dsver.model.manifests import FileEntry, InvalidManifest, Manifest, check_path, gc_paused
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import Grade
from mlflow_dsver.providers.git.lfs import MAX_POINTER, pointer_in
from mlflow_dsver.providers.git.repository import Blobs, Repository, TreeFile
from mlflow_dsver.text import one_line

LINK, SUBMODULE = "120000", "160000"
MAX_STEPS = 40
"""Links that lead to links, at most."""


def manifest_of(repository: Repository, commit_id: str, path: str, ref: DatasetRef) -> Manifest:
    """The files at or below a path of a commit. Raises NotFound when there is none, ContentError for unusable names.

    Links are followed within the commit, as they are when folders are hashed. Submodules are other repositories: they
    are left out, and named in `made`.
    """
    whole = list(repository.files(commit_id))
    below = f"{path}/" if path else ""
    chosen = [each for each in whole if not path or each.path == path or each.path.startswith(below)]
    submodules = [each.path for each in chosen if each.mode == SUBMODULE]
    if len(chosen) == len(submodules):
        raise NotFound(
            f"the commit has no file at {path or 'its root'!r}",
            provider="git",
            operation="list the files",
            reference=ref,
        )
    uses_lfs = any(posixpath.basename(each.path) == ".gitattributes" for each in whole)
    with gc_paused():
        entries = tuple(sorted(_entries(repository, whole, chosen, path, ref, uses_lfs=uses_lfs)))
    made = {"by": f"mlflow-dsver {__version__}", "commit": commit_id, "path": path}
    return Manifest(entries, made | ({"submodules": submodules} if submodules else {}))


def grade_of(manifest: Manifest) -> Grade:
    """B: a commit never changes. The notes say what the identity of files rests on."""
    algorithms = {each.algorithm for entry in manifest.entries if entry.evidence for each in entry.evidence.checksums}
    names = {"gitblob": "SHA-1 by git", "sha256": "SHA-256 by git-LFS"}
    return Grade("B", ("immutable by git commit", *(names[each] for each in names if each in algorithms)))


def _entries(
    repository: Repository,
    whole: list[TreeFile],
    chosen: list[TreeFile],
    path: str,
    ref: DatasetRef,
    *,
    uses_lfs: bool,
) -> Iterator[FileEntry]:
    by_path: dict[str, TreeFile] = {}
    blobs = Blobs(repository)
    try:
        for each in chosen:
            found = each
            if each.mode == SUBMODULE:
                continue
            if each.mode == LINK:
                by_path = by_path or {one.path: one for one in whole}
                found = _followed(blobs, by_path, each, ref)
            name = posixpath.basename(path) if each.path == path else each.path[len(path) + 1 if path else 0 :]
            yield _entry(blobs, _checked(name, ref), found, uses_lfs=uses_lfs)
    finally:
        blobs.close()


def _entry(blobs: Blobs, name: str, file: TreeFile, *, uses_lfs: bool) -> FileEntry:
    if uses_lfs and file.size < MAX_POINTER:
        pointer = pointer_in(blobs.read(file.oid) or b"")
        if pointer is not None:
            return file_entry(name, pointer.size, FileEvidence((Checksum("sha256", pointer.sha256, by="store"),)))
    if len(file.oid) == 40:
        return file_entry(name, file.size, FileEvidence((Checksum("gitblob", file.oid, by="store"),)))
    return file_entry(name, file.size, FileEvidence(version=file.oid))  # a repository with SHA-256 as object format


def _followed(blobs: Blobs, files: dict[str, TreeFile], link: TreeFile, ref: DatasetRef) -> TreeFile:
    found = link
    for _ in range(MAX_STEPS):
        if found.mode != LINK:
            return found
        target = (blobs.read(found.oid) or b"").decode(errors="replace")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(found.path), target))
        if target.startswith("/") or place not in files or files[place].mode == SUBMODULE:
            break
        found = files[place]
    raise ContentError(
        f"the link {one_line(link.path, 200)} leads to no file of the commit",
        reference=ref,
        done="Nothing was listed",
        tip="a reference of a folder without it",
        paths=(link.path,),
    )


def _checked(name: str, ref: DatasetRef) -> str:
    try:
        return check_path(name)
    except InvalidManifest as error:
        raise ContentError(f"a path that no folder can have: {error}", reference=ref, paths=(name,)) from error
