"""Real git repositories for the tests, made with the `git` command."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Checkout:
    """A working tree with its repository, new and empty."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """What a git command prints. Nobody's configuration applies."""
        fixed = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        who = {
            f"GIT_{role}_{what}": "someone@example.com"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env={**os.environ, **fixed, **who},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def write(self, path: str, content: bytes | str) -> Path:
        """Write a file below the working tree."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
        return target

    def commit(self, message: str) -> str:
        """Commit everything that is there; its id."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def forget(self) -> None:
        """Remove all that no branch or tag leads to, as a collection of garbage does in the end."""
        self.git("reflog", "expire", "--expire=now", "--all")
        self.git("gc", "--quiet", "--prune=now")


@contextmanager
def served(folder: Path, large_files: dict[str, bytes] | None = None) -> Iterator[str]:
    """The host and port of an HTTP server of a folder, as git's plain protocol needs it.

    large_files: what its git-LFS gives for a SHA-256; the address of a file wants a key that the answer has.
    """
    kept = large_files if large_files is not None else {}

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            """The batch API of git-LFS, for one file."""
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (wanted,) = asked["objects"]
            if not self.path.endswith(".git/info/lfs/objects/batch") or asked["operation"] != "download":
                self.send_error(404)
                return
            href = f"http://{self.headers['Host']}/large/{wanted['oid']}"
            action = {"download": {"href": href, "header": {"Authorization": "RemoteAuth key-0123456789"}}}
            found = {"actions": action} if wanted["oid"] in kept else {"error": {"code": 404, "message": "no object"}}
            self._answer(json.dumps({"transfer": "basic", "objects": [wanted | found]}).encode())

        def do_GET(self) -> None:
            if not self.path.startswith("/large/"):
                super().do_GET()
            elif self.headers.get("Authorization") != "RemoteAuth key-0123456789":
                self.send_error(403)
            else:
                self._answer(kept[self.path.removeprefix("/large/")])

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.git-lfs+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
