"""The files of a commit as the Hub lists them: a manifest with the Hub's evidence, and the grade that this gives.

A large file (LFS or Xet) has the SHA-256 of its bytes in the listing. Any other has its git blob id, which is
recorded as the checksum `gitblob` and not as a version id: it can be computed from the bytes, files of two commits
can be compared by it, and as a SHA-1 it proves against accident only. Reading the bytes compares either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from mlflow_dsver._version import __version__
from mlflow_dsver.content.checksums import Checksums, compared
from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.evidence import Checksum, FileEvidence, checked
from mlflow_dsver.model.manifests import MAX_SIZE, FileEntry, InvalidManifest, Manifest, check_path, gc_paused
from mlflow_dsver.model.manifests import with_evidence as file_entry
from mlflow_dsver.model.versions import Grade
from mlflow_dsver.providers.hf.hub import NO_ENTRY, Asked, Hub
from mlflow_dsver.providers.hf.info import NAME, Place
from mlflow_dsver.text import human_count

_WHERE = "immutable by commit"
_PATTERN = re.compile(r"[*?]")
_ANY = "(?:[^/]+/)*"


def list_files(hub: Hub, place: Place, commit: str, reference: object) -> Manifest:
    """The files at a commit, below the place's path. Raises NotFound when the commit or the path is not there."""
    asked = Asked("list the files", reference, place)
    found = dict(_entries(hub, place, commit, asked))
    with gc_paused():
        manifest = manifest_of(found, place, commit)
    if manifest is None:
        raise NotFound(
            f"the commit has no file or folder {place.path[:200]!r}, and none that matches it"
            if fixed_part(place.path) != place.path
            else f"the commit has no file or folder {place.path[:200]!r}",
            provider=NAME,
            operation=asked.operation,
            reference=reference,
            code=NO_ENTRY,
        )
    return manifest


def manifest_of(files: dict[str, FileEntry], place: Place, commit: str) -> Manifest | None:
    """The manifest of those files of a repository, by path, that are at or below the place's path; None for none."""
    single = False
    if place.path:
        files, single = _below(files, place.path)
        if not files:
            return None
    made: dict[str, Any] = {
        "by": f"mlflow-dsver {__version__}",
        "listed": "the Hub's tree",
        "repository": place.whole.dataset,
        "commit": commit,
        "file": place.path if single else None,
        "include": [],
        "exclude": [],
    }
    return Manifest(tuple(files[path]._replace(path=path) for path in sorted(files)), made)


def file_in_repository(place: Place, manifest: Manifest, path: str) -> str:
    """The path from the repository's root of a file of the manifest."""
    if manifest.made.get("file") == place.path and place.path:
        return place.path
    folder = fixed_part(place.path)
    return f"{folder}/{path}" if folder else path


def fixed_part(path: str) -> str:
    """The folders of a path before the first name that is a pattern: of `data/*.parquet` it is `data`.

    The whole path where there is no pattern.
    """
    segments = path.split("/")
    first = next((number for number, segment in enumerate(segments) if _PATTERN.search(segment)), len(segments))
    return "/".join(segments[:first])


def grade_of(manifest: Manifest) -> Grade:
    """B, and what the files' identity rests on."""
    strong = sum(sha256_of(entry) is not None for entry in manifest.entries)
    if strong == len(manifest):
        return Grade("B", (_WHERE, "SHA-256 by Hugging Face") if strong else (_WHERE,))
    if not strong:
        return Grade("B", (_WHERE, "git SHA-1 by Hugging Face"))
    counts = f"SHA-256 by Hugging Face of {human_count(strong, 'file')} and git SHA-1 of {len(manifest) - strong}"
    return Grade("B", (_WHERE, counts))


def sha256_of(entry: FileEntry) -> str | None:
    """The SHA-256 that the Hub has of a large file; None for another file."""
    return _checksum(entry, "sha256")


def blob_of(entry: FileEntry) -> str | None:
    """The git blob id of a file that is not large; None for others."""
    return _checksum(entry, "gitblob")


def is_right(entry: FileEntry, blocks: Iterable[Any]) -> bool:
    """Whether the bytes of a whole file, in blocks, have the entry's SHA-256 or git blob id; False without one."""
    found = Checksums.of(entry)
    for block in blocks:
        found.update(block)
    return compared(entry, found.values()).same is True


def _checksum(entry: FileEntry, algorithm: str) -> str | None:
    checksums = entry.evidence.checksums if entry.evidence is not None else ()
    return next((each.value for each in checksums if each.algorithm == algorithm), None)


def _entries(hub: Hub, place: Place, commit: str, asked: Asked) -> Iterator[tuple[str, FileEntry]]:
    """The files of a listing. Raises UnexpectedResponse when it lacks a folder's files: git has no empty ones."""
    folder = fixed_part(place.path)
    path = hub.api(place, "tree", commit, *((folder,) if folder else ()))
    seen: set[str] = set()
    folders: set[str] = set()
    for item in _listed(hub, path, place, commit, asked):
        if not isinstance(item, dict) or item.get("type") not in ("file", "directory"):
            raise hub.unexpected("a listing with an item of an unknown kind", asked, item)
        if item["type"] == "directory":
            folders.add(str(item.get("path")))
            continue
        try:
            entry = entry_of(item)
        except (ValueError, TypeError, KeyError, InvalidManifest) as error:
            raise hub.unexpected("a listing with a file that cannot be read", asked, error) from error
        if entry.path in seen:
            raise hub.unexpected("a listing that has a file twice", asked, entry.path)
        seen.add(entry.path)
        yield entry.path, entry
    filled = {each[:end] for each in seen for end in range(len(each)) if each[end] == "/"}
    if seen & filled:
        raise hub.unexpected("a listing with a file that is a folder as well", asked, min(seen & filled))
    if folders - filled:
        raise hub.unexpected("a listing without the files of a folder", asked, min(folders - filled))


def _listed(hub: Hub, path: str, place: Place, commit: str, asked: Asked) -> Iterator[Any]:
    """The items of a listing; where the path is a file and the Hub lists folders only, those of its folder."""
    try:
        yield from hub.pages(path, asked, {"recursive": "true", "expand": "false"})
    except NotFound as error:
        if error.code != NO_ENTRY or not place.path:
            raise
        parent = place.path.rpartition("/")[0]
        again = hub.api(place, "tree", commit, *((parent,) if parent else ()))
        for item in hub.pages(again, asked, {"recursive": "false", "expand": "false"}):
            if isinstance(item, dict) and item.get("path") == place.path and item.get("type") == "file":
                yield item


def entry_of(item: dict[str, Any]) -> FileEntry:
    """The file that an item of a listing describes. Raises ValueError, TypeError, KeyError or InvalidManifest."""
    path, size, blob, lfs = check_path(item["path"]), item["size"], item["oid"], item.get("lfs")
    if type(size) is not int or not 0 <= size < MAX_SIZE:
        raise ValueError("no size")
    if lfs is None:
        return file_entry(path, size, FileEvidence((checked(Checksum("gitblob", blob, by="store")),)))
    whole = lfs["size"]
    if type(whole) is not int or not 0 <= whole < MAX_SIZE or size not in (whole, lfs.get("pointerSize")):
        raise ValueError("two sizes of one file")
    return file_entry(path, whole, FileEvidence((checked(Checksum("sha256", lfs["oid"], by="store")),)))


def _below(found: dict[str, FileEntry], path: str) -> tuple[dict[str, FileEntry], bool]:
    """The files below a folder, or those that match a pattern, by their paths in it; or the one file, and True."""
    if path in found:
        return {path.rpartition("/")[2]: found[path]}, True
    folder = fixed_part(path)
    start = f"{folder}/" if folder else ""
    if folder == path:
        return {each[len(start) :]: entry for each, entry in found.items() if each.startswith(start)}, False
    pattern = "/".join(map(_segment, path[len(start) :].split("/"))).replace(f"{_ANY}/", _ANY)
    matches = re.compile(pattern + ("[^/]+" if pattern.endswith(_ANY) else "")).fullmatch
    return {
        each[len(start) :]: entry
        for each, entry in found.items()
        if each.startswith(start) and matches(each[len(start) :])
    }, False


def _segment(pattern: str) -> str:
    """A regular expression for one name of a pattern: `*` and `?` within a name, `**` for folders at any depth."""
    if pattern == "**":
        return _ANY
    return re.escape(pattern).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
