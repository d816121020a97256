"""What the lakeFS emulator keeps: repositories with commits, branches, tags and the bytes of objects."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

_EXPRESSION = re.compile(r"([^~^@$]+)((?:[~^]\d*|@)*)\Z")
_EPOCH = 1_760_000_000


@dataclass(frozen=True)
class Object:
    """An object of a commit. checksum: its MD5."""

    size: int
    checksum: str
    address: str
    mtime: int = _EPOCH

    @classmethod
    def of(cls, content: bytes, address: str, mtime: int = _EPOCH) -> Object:
        """The object of these bytes at an address."""
        return cls(len(content), hashlib.md5(content, usedforsecurity=False).hexdigest(), address, mtime)

    def to_json_of_api(self, path: str) -> dict[str, Any]:
        """As `ObjectStats` of the API."""
        return {
            "path": path,
            "path_type": "object",
            "physical_address": self.address,
            "checksum": self.checksum,
            "size_bytes": self.size,
            "mtime": self.mtime,
            "content_type": "application/octet-stream",
            "metadata": {},
        }


@dataclass(frozen=True)
class Commit:
    """A commit with all objects that it has."""

    id: str
    parent: str | None
    message: str
    date: int
    objects: Mapping[str, Object]
    metadata: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As `Commit` of the API."""
        return {
            "id": self.id,
            "parents": [self.parent] if self.parent else [],
            "committer": "someone",
            "message": self.message,
            "creation_date": self.date,
            "meta_range_id": self.id[::-1],
            "metadata": dict(self.metadata),
            "generation": 1,
            "version": 1,
        }


@dataclass
class Repository:
    """A repository. born: tells it from another one of the same name. staged: uncommitted paths of branches."""

    name: str
    born: int = 0
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    staged: dict[str, list[str]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Where the repository keeps what was uploaded."""
        return f"s3://emulated/{self.name}"

    def add(
        self,
        files: Mapping[str, bytes | None],
        message: str,
        *,
        branch: str,
        imported: Iterable[str],
        metadata: Mapping[str, str],
    ) -> str:
        """Commit files to a branch; return the id."""
        parent = self.branches.get(branch)
        objects = dict(self.commits[parent].objects) if parent else {}
        outside = set(imported)
        date = _EPOCH + self.born + len(self.commits)
        for path, content in files.items():
            objects.pop(path, None)
            if content is not None:
                number = hashlib.sha256(f"{date} {path}".encode() + content).hexdigest()[:20]
                address = f"s3://elsewhere/{path}" if path in outside else f"{self.namespace}/data/{number}"
                self.contents[address] = content
                objects[path] = Object.of(content, address, date)
        listed = [parent, message, date, {path: asdict(objects[path]) for path in sorted(objects)}]
        made = hashlib.sha256(json.dumps(listed).encode()).hexdigest()
        self.commits[made] = Commit(made, parent, message, date, objects, metadata)
        self.branches[branch] = made
        return made

    def find(self, ref: str) -> Commit | None:
        """The commit that a branch, tag, id, the beginning of one, or an expression of these means."""
        found = _EXPRESSION.match(ref)
        if found is None:
            return None
        base = found[1]
        name = self.branches.get(base) or self.tags.get(base)
        if name is None:
            near = [each for each in self.commits if each.startswith(base)]
            name = near[0] if len(near) == 1 else None
        for sign, count in re.findall(r"([~^@])(\d*)", found[2]):
            for _ in range(int(count or 1) if sign == "~" else 0 if sign == "@" else 1):
                name = self.commits[name].parent if name else None
        return self.commits.get(name) if name else None

    def history(self, commit: Commit) -> list[Commit]:
        """The commit and those before it, newest first."""
        found = [commit]
        while parent := found[-1].parent:
            found.append(self.commits[parent])
        return found

    def touches(self, commit: Commit, objects: Iterable[str], prefixes: tuple[str, ...]) -> bool:
        """Whether a commit changed one of the objects, or one below a prefix."""
        before = self.commits[commit.parent].objects if commit.parent else {}
        wanted = set(objects)
        return any(
            (path in wanted or path.startswith(prefixes)) and before.get(path) != commit.objects.get(path)
            for path in {*before, *commit.objects}
        )

    def to_json_of_api(self) -> dict[str, Any]:
        """As `Repository` of the API."""
        return {
            "id": self.name,
            "creation_date": _EPOCH + self.born,
            "default_branch": "main",
            "storage_namespace": self.namespace,
            "read_only": False,
        }

    def to_json(self) -> dict[str, Any]:
        """The whole state."""
        return asdict(self) | {
            "contents": {name: base64.b64encode(content).decode() for name, content in self.contents.items()}
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Repository:
        """Read what `to_json` returned."""
        commits = {
            name: Commit(**{**each, "objects": {path: Object(**one) for path, one in each["objects"].items()}})
            for name, each in state["commits"].items()
        }
        contents = {name: base64.b64decode(content) for name, content in state["contents"].items()}
        return cls(**{**state, "commits": commits, "contents": contents})
