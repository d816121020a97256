"""The state of the Hub's emulator: repositories, commits, refs, and the contents of files."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_dsver.providers.hf.info import COMMIT, MAIN

LARGE = 10_000_000
"""Bytes from which the Hub wants a file in LFS."""
_START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class File:
    """A file of a commit. blob: the git blob id, for a large file that of its pointer. sha256: of a large one."""

    size: int
    blob: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit. date: in ISO 8601."""

    id: str
    parent: str | None
    title: str
    message: str
    user: str
    date: str
    files: Mapping[str, File]


@dataclass(slots=True)
class Repository:
    """A repository. refs: full names such as `refs/heads/main`, to commits. granted: the key may read a gated one."""

    private: bool = False
    gated: bool = False
    granted: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    """By git blob id or, for large files, by SHA-256."""

    def add(
        self,
        files: Mapping[str, bytes | File | None],
        *,
        message: str = "",
        details: str = "",
        user: str = "someone",
        large: Iterable[str] = (),
        ref: str = f"refs/heads/{MAIN}",
        parent: str | None = None,
        root: bool = False,
    ) -> str:
        """Commit files to a ref and return the id. None deletes a file. root: without a parent, with these alone."""
        parent = None if root else parent or self.refs.get(ref)
        kept = dict(self.commits[parent].files) if parent else {}
        large = set(large)
        for path, content in files.items():
            if content is None:
                kept.pop(path, None)
            else:
                kept[path] = content if isinstance(content, File) else self.store(content, large=path in large)
        number = len(self.commits)
        date = (_START + timedelta(minutes=number)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        described = [parent, message, details, date, {path: file.blob for path, file in sorted(kept.items())}]
        commit = hashlib.sha1(json.dumps(described).encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = Commit(commit, parent, message or "a commit", details, user, date, kept)
        self.refs[ref] = commit
        return commit

    def store(self, content: bytes, *, large: bool = False) -> File:
        """Keep the content of a file."""
        if not large and len(content) < LARGE:
            file = File(len(content), blob_id(content))
            self.contents[file.blob] = content
            return file
        sha256 = hashlib.sha256(content).hexdigest()
        self.contents[sha256] = content
        return pointer(sha256, len(content))

    def content(self, file: File) -> bytes | None:
        """The content of a file; None when it was deleted from the storage."""
        return self.contents.get(file.sha256 or file.blob)

    def squash(self, ref: str = f"refs/heads/{MAIN}", message: str = "Super-squash branch") -> str:
        """Replace the history of a ref by one commit with the same files, as `super_squash_history` does."""
        files = self.commits[self.refs[ref]].files
        return self.add(dict(files), message=message, ref=ref, root=True)

    def reachable(self, start: str | None = None) -> dict[str, None]:
        """The commits that a commit, or any ref, leads to."""
        found: dict[str, None] = {}
        todo = [start] if start else list(self.refs.values())
        while todo:
            commit = todo.pop()
            if commit not in found and commit in self.commits:
                found[commit] = None
                if (parent := self.commits[commit].parent) is not None:
                    todo.append(parent)
        return found

    def find(self, revision: str, *, short: bool, unreachable: bool) -> Commit | None:
        """The commit that a revision names; None for none."""
        for start in ("refs/heads/", "refs/tags/", ""):
            if (named := self.refs.get(start + revision)) is not None:
                return self.commits[named]
        known = self.commits if unreachable else self.reachable()
        if COMMIT.match(revision):
            return self.commits[revision] if revision in known else None
        matching = [commit for commit in known if short and len(revision) >= 7 and commit.startswith(revision)]
        return self.commits[matching[0]] if len(matching) == 1 else None

    def history(self, start: Commit) -> list[Commit]:
        """A commit and those before it."""
        return [self.commits[commit] for commit in self.reachable(start.id)]

    def to_json(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "private": self.private,
            "gated": self.gated,
            "granted": self.granted,
            "refs": self.refs,
            "contents": {name: base64.b64encode(content).decode() for name, content in self.contents.items()},
            "commits": [
                {name: getattr(commit, name) for name in ("id", "parent", "title", "message", "user", "date")}
                | {"files": {path: [file.size, file.blob, file.sha256] for path, file in commit.files.items()}}
                for commit in self.commits.values()
            ],
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Repository:
        """Read what `to_json` returned."""
        commits = [
            Commit(**{**fields, "files": {path: File(*values) for path, values in fields["files"].items()}})
            for fields in state["commits"]
        ]
        return cls(
            state["private"],
            state["gated"],
            state["granted"],
            {commit.id: commit for commit in commits},
            dict(state["refs"]),
            {name: base64.b64decode(content) for name, content in state["contents"].items()},
        )


def pointer(sha256: str, size: int) -> File:
    """A large file, as git has it: a pointer of git-LFS."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return File(size, blob_id(text.encode()), sha256)


def blob_id(content: bytes) -> str:
    """What git calls a file of this content by."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
