"""What the Hub's client sends to write: new repositories, commits, large files, tags, branches, squashes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from mlflow_dsver.emulators.serving import Request
from mlflow_dsver.providers.hf.emulator.repositories import LARGE, File, Repository, pointer
from mlflow_dsver.providers.hf.emulator.responses import Refused

_LARGE_ENDINGS = (".bin", ".parquet", ".safetensors", ".zip", ".gz", ".png", ".jpg", ".npy", ".npz", ".arrow")
"""Names that the default .gitattributes of a repository puts into LFS."""


def body_of(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    try:
        found = json.loads(request.body or b"{}")
    except ValueError:
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(found, dict):
        raise Refused(400, "the body is not an object")
    return found


def preupload(request: Request) -> dict[str, Any]:
    """How each file is to be uploaded."""
    files = body_of(request).get("files") or []
    return {
        "files": [
            {
                "path": each["path"],
                "uploadMode": "lfs" if is_large(each["path"], each.get("size", 0)) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for each in files
        ]
    }


def is_large(path: str, size: int) -> bool:
    """Whether a file goes to LFS."""
    return size >= LARGE or path.lower().endswith(_LARGE_ENDINGS)


def lfs_batch(request: Request, repository: Repository, base: str, key: str) -> dict[str, Any]:
    """Where each large file is to be uploaded to; nowhere for those that are there."""
    objects = []
    for each in body_of(request).get("objects") or []:
        item = {"oid": each["oid"], "size": each["size"]}
        if each["oid"] not in repository.contents:
            item["actions"] = {"upload": {"href": f"{base}/emulated-storage/{key}/{each['oid']}", "header": {}}}
        objects.append(item)
    return {"transfer": "basic", "objects": objects}


def upload(request: Request, repository: Repository, sha256: str) -> None:
    """Keep a large file."""
    if hashlib.sha256(request.body).hexdigest() != sha256:
        raise Refused(400, "another SHA-256 than was announced")
    repository.contents[sha256] = request.body


def commit(request: Request, repository: Repository, ref: str, user: str) -> str:
    """Make the commit of a body in lines of JSON; return its id."""
    header: dict[str, Any] = {}
    files: dict[str, bytes | File | None] = {}
    present = repository.commits[repository.refs[ref]].files if ref in repository.refs else {}
    for kind, value in _lines(request):
        if kind == "header":
            header = value
        elif kind == "file":
            files[value["path"]] = base64.b64decode(value["content"])
        elif kind == "lfsFile":
            if value["oid"] not in repository.contents:
                raise Refused(400, "a large file that was not uploaded")
            files[value["path"]] = pointer(value["oid"], len(repository.contents[value["oid"]]))
        elif kind == "deletedFile":
            files[value["path"]] = None
        elif kind == "deletedFolder":
            start = value["path"].rstrip("/") + "/"
            files.update({path: None for path in present if path.startswith(start)})
    parent = header.get("parentCommit")
    if parent and repository.refs.get(ref) != parent:
        raise Refused(412, "A commit has happened since. Please refresh and try again.")
    return repository.add(
        files, message=str(header.get("summary")), details=str(header.get("description") or ""), user=user, ref=ref
    )


def _lines(request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
    for line in request.body.splitlines():
        if line.strip():
            try:
                found = json.loads(line)
                yield str(found["key"]), dict(found["value"])
            except (ValueError, KeyError, TypeError):
                raise Refused(400, "a line that cannot be read") from None
