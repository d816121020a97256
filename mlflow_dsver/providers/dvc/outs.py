"""Reads what DVC tracks at a commit: `.dvc` files and `dvc.lock`, of DVC 2 and 3.

An out has a path, the MD5 of a file or (with `.dir`) of the list of a folder's files, and with DVC 3 `hash: md5`.
Before that the MD5 of a text file was taken with its line ends made those of Unix, so it is an id and not the MD5 of
the bytes. What these files say is not trusted: paths stay below the repository, sums have their form.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from mlflow_dsver.errors import UnexpectedResponse
from mlflow_dsver.providers.git.repository import Repository
from mlflow_dsver.text import one_line

LOCK = "dvc.lock"
MAX_FILE = 64 << 20
"""Bytes of a `.dvc` file or `dvc.lock` at most."""
_MD5 = re.compile(r"([0-9a-f]{32})(\.dir)?\Z")


class Out(NamedTuple):
    """What DVC tracks under a path of the repository. md5: 32 hex digits, of the list of files for a folder.

    size: in bytes; None where DVC does not say. plain: whether the MD5s are those of the bytes. file: the `.dvc` file
    or `dvc.lock` that says so.
    """

    path: str
    md5: str
    is_folder: bool
    size: int | None
    plain: bool
    file: str


def out_at(repository: Repository, commit_id: str, path: str) -> Out | None:
    """The out that a path is, or lies in, at a commit; None when DVC tracks none."""
    for each in _upward(path):
        found = _in_file(repository, commit_id, f"{each}.dvc", path)
        if found is not None:
            return found
    for folder in [*_upward(posixpath.dirname(path)), ""]:
        found = _in_file(repository, commit_id, posixpath.join(folder, LOCK), path)
        if found is not None:
            return found
    return None


def files_about(path: str) -> list[str]:
    """The files that may say what DVC has under a path."""
    folders = [*_upward(posixpath.dirname(path)), ""]
    return [*(f"{each}.dvc" for each in _upward(path)), *(posixpath.join(each, LOCK) for each in folders)]


def outs_in(content: bytes, file: str) -> Iterator[Out]:
    """The outs of a `.dvc` file or `dvc.lock`. file: its path in the repository. Raises UnexpectedResponse."""
    if len(content) > MAX_FILE:
        raise _unreadable(file, f"more than {MAX_FILE:,} bytes")
    try:
        found = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  (it is safe)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _unreadable(file, one_line(str(error).partition("\n")[0], 100)) from error
    if posixpath.basename(file) == LOCK:
        stages = found.get("stages", found) if isinstance(found, dict) else None
        groups = list(stages.values()) if isinstance(stages, dict) else []
    else:
        groups = [found]
    for group in groups:
        listed = group.get("outs") if isinstance(group, dict) else None
        base = posixpath.dirname(file)
        if isinstance(group, dict) and isinstance(group.get("wdir"), str):
            base = posixpath.join(base, group["wdir"])
        for each in listed if isinstance(listed, list) else []:
            out = _out(each, base, file)
            if out is not None:
                yield out


def _in_file(repository: Repository, commit_id: str, file: str, path: str) -> Out | None:
    content = repository.content(commit_id, file)
    for out in outs_in(content, file) if content is not None else ():
        if path == out.path or path.startswith(f"{out.path}/"):
            return out
    return None


def _out(fields: Any, base: str, file: str) -> Out | None:
    """An out of DVC's cache; None for one that has no MD5, such as one kept outside."""
    if not isinstance(fields, dict) or not isinstance(fields.get("path"), str):
        return None
    md5 = _MD5.match(str(fields.get("md5", "")))
    path = posixpath.normpath(posixpath.join(base, fields["path"]))
    if md5 is None or path.startswith(("../", "/")) or path in (".", ".."):
        return None
    size = fields.get("size")
    plain = fields.get("hash") == "md5"
    return Out(path, md5[1], bool(md5[2]), size if type(size) is int and size >= 0 else None, plain, file)


def _upward(path: str) -> list[str]:
    """The path and the folders above it, without the root."""
    parts = path.split("/") if path else []
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _unreadable(file: str, why: str) -> UnexpectedResponse:
    return UnexpectedResponse(
        f"{one_line(file, 200)} cannot be read as a file of DVC", provider="dvc", operation="read", got=why
    )
