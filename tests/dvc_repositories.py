"""Repositories as DVC makes them, written by hand: what DVC 3 and DVC 2 leave in git, in the cache and in a remote.

`tests/providers/dvc/test_dvc_itself.py` compares this with DVC.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from git_repositories import Checkout


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


class DvcCheckout(Checkout):
    """A git checkout with DVC's cache and a remote in a folder. legacy: as DVC 2 did."""

    def __init__(self, folder: Path, *, legacy: bool = False) -> None:
        super().__init__(folder)
        self.legacy = legacy
        self.cache, self.remote = folder / ".dvc" / "cache", folder.with_name(f"{folder.name}-remote")
        self.write(".dvc/config", f"[core]\n    remote = store\n['remote \"store\"']\n    url = {self.remote}\n")
        self.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
        self.commit("dvc init")

    def add(self, path: str, files: dict[str, bytes]) -> str:
        """`dvc add` of a folder with these files, or of one file under the name of the empty text; DVC's MD5."""
        for name, content in files.items():
            self.write(f"{path}/{name}" if name else path, content)
        self.write(f"{path.rpartition('/')[0]}/.gitignore".lstrip("/"), f"/{path.rpartition('/')[2]}\n")
        sums = {name: self._keep(content) for name, content in files.items()}
        if "" in sums:
            whole, extra = sums[""], ""
        else:
            rows = [{"md5": sums[name], "relpath": name} for name in sorted(sums)]
            whole = self._keep(json.dumps(rows).encode(), ".dir") + ".dir"
            extra = f"  nfiles: {len(files)}\n"
        size = sum(map(len, files.values()))
        kind = "" if self.legacy else "  hash: md5\n"
        name = path.rpartition("/")[2]
        self.write(f"{path}.dvc", f"outs:\n- md5: {whole}\n  size: {size}\n{extra}{kind}  path: {name}\n")
        return whole.removesuffix(".dir")

    def object(self, digest: str, where: Path | None = None) -> Path:
        """Where the cache, or the remote, has a file."""
        base = where or self.cache
        return (base if self.legacy else base / "files" / "md5") / digest[:2] / digest[2:]

    def push(self) -> None:
        """`dvc push`."""
        for path in [each for each in self.cache.rglob("*") if each.is_file()]:
            target = self.remote / path.relative_to(self.cache)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())

    def _keep(self, content: bytes, suffix: str = "") -> str:
        digest = md5(content.replace(b"\r\n", b"\n") if self.legacy and not suffix else content)
        path = Path(f"{self.object(digest)}{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return digest
