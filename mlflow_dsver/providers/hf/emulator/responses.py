"""What the Hub's emulator answers: its switches, errors, pages, and the bodies of listings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from mlflow_dsver.emulators.serving import Reply, Request, Switch
from mlflow_dsver.providers.hf.emulator.repositories import Commit, File, Repository

SWITCHES = (
    Switch("missing", "status for a repository that is not there or not shown, without a token", ("401", "404")),
    Switch("unreachable", "commits that no ref leads to any more, after a squash or a force push", ("gone", "kept")),
    Switch("short-commit", "the beginning of a commit id as a revision", ("resolved", "404")),
    Switch("tree-of-file", "the listing of a path that is a file", ("404", "itself")),
    Switch("gated-listing", "the listing of a gated repository without access", ("shown", "refused")),
    Switch("large-files", "where large files are served", ("elsewhere", "here")),
    Switch("large-size", "the size of a large file in a listing, beside that in its `lfs`", ("whole", "pointer")),
    Switch("small-files", "how small files are served", ("here", "redirect")),
    Switch("lost", "what the storage says of a large file that was deleted there", ("404", "403")),
    Switch("ranges", "a request for a part of a file", ("served", "ignored")),
    Switch("xet", "whether listings have a Xet hash of large files; the Hub's client then wants the Xet service",
           ("no", "yes")),
    Switch("mirror", "yes: a server that has files and listings, but no commits and refs", ("no", "yes")),
    Switch("page", "items of a page of a listing at most", ("1000",), numbers=(1, 1000)),
)  # fmt: skip


class Refused(Exception):
    """A failure of the Hub. code: its header X-Error-Code; empty for none."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code

    def reply(self) -> Reply:
        """The answer."""
        headers = {"X-Error-Message": self.message} | ({"X-Error-Code": self.code} if self.code else {})
        return Reply(self.status, {"error": self.message}, headers=headers)


def page(items: Sequence[Any], request: Request, base: str, limit: int) -> Reply:
    """A page of a listing, with the link to the next one."""
    cursor = request.first("cursor") or "0"
    start = int(cursor) if cursor.isdecimal() else 0
    asked = request.first("limit") or ""
    limit = min(limit, int(asked)) if asked.isdecimal() and int(asked) > 0 else limit
    headers: dict[str, str] = {"X-Total-Count": str(len(items))}
    if start + limit < len(items):
        query = {name: values[0] for name, values in request.query.items()} | {"cursor": str(start + limit)}
        path = "/".join(quote(segment, safe="") for segment in request.path)
        headers["Link"] = f'<{base}/{path}?{urlencode(query)}>; rel="next"'
    return Reply(200, list(items[start : start + limit]), headers=headers)


def info(name: str, repository: Repository, commit: Commit) -> dict[str, Any]:
    """A repository at a commit."""
    return {
        "_id": f"{abs(hash(name)) % (1 << 48):024x}",
        "id": name,
        "author": name.partition("/")[0],
        "sha": commit.id,
        "lastModified": commit.date,
        "createdAt": next(iter(repository.commits.values())).date,
        "private": repository.private,
        "gated": "auto" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": [{"rfilename": path} for path in sorted(commit.files)],
    }


def commit_item(commit: Commit) -> dict[str, Any]:
    """A commit in a listing."""
    return {
        "id": commit.id,
        "title": commit.title,
        "message": commit.message,
        "authors": [{"user": commit.user, "avatar": "https://huggingface.co/avatars/none.svg"}],
        "date": commit.date,
    }


def refs(repository: Repository, *, pull_requests: bool) -> dict[str, Any]:
    """All refs of a repository."""

    def group(start: str) -> list[dict[str, str]]:
        return [
            {"name": name.removeprefix(start), "ref": name, "targetCommit": commit}
            for name, commit in repository.refs.items()
            if name.startswith(start)
        ]

    found = {"branches": group("refs/heads/"), "converts": group("refs/convert/"), "tags": group("refs/tags/")}
    return found | ({"pullRequests": group("refs/pr/")} if pull_requests else {})


def tree(commit: Commit, path: str, switches: Mapping[str, str], *, recursive: bool) -> list[dict[str, Any]]:
    """The items below a path of a commit."""
    if path in commit.files and switches["tree-of-file"] == "itself":
        return [file_item(path, commit.files[path], switches)]
    start = f"{path}/" if path else ""
    files = {name: file for name, file in commit.files.items() if name.startswith(start)}
    if path and not files:
        raise Refused(404, f'"{path}" does not exist on "{commit.id}"', "EntryNotFound")
    items: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        below = name[len(start) :].split("/")
        for depth in range(1, len(below)) if recursive else range(1, min(2, len(below))):
            folder = start + "/".join(below[:depth])
            items[folder] = {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder}
        if recursive or len(below) == 1:
            items[name] = file_item(name, file, switches)
    return [items[name] for name in sorted(items)]


def file_item(path: str, file: File, switches: Mapping[str, str]) -> dict[str, Any]:
    """A file in a listing."""
    item: dict[str, Any] = {"type": "file", "oid": file.blob, "size": file.size, "path": path}
    if file.sha256 is not None:
        item["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
        if switches["large-size"] == "pointer":
            item["size"] = 134
        if switches["xet"] == "yes":
            item["xetHash"] = file.sha256[::-1]
    return item


def part(content: bytes, headers: Mapping[str, str], request: Request, *, ranges: bool) -> Reply:
    """The content of a file, or the part of it that the request asks for."""
    sent = {**headers, "Accept-Ranges": "bytes"}
    asked = request.headers.get("range", "")
    if not ranges or not asked.startswith("bytes="):
        return Reply(200, content, "application/octet-stream", sent)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    if not first.isdecimal() or int(first) >= len(content):
        return Reply(416, b"", "text/plain", {"Content-Range": f"bytes */{len(content)}"})
    stop = min(int(last) + 1, len(content)) if last.isdecimal() else len(content)
    sent["Content-Range"] = f"bytes {first}-{stop - 1}/{len(content)}"
    return Reply(206, content[int(first) : stop], "application/octet-stream", sent)
