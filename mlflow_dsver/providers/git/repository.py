"""Reads git repositories through the `git` command: commits, trees and blobs, and nothing of the working tree.

Names of branches, paths and repositories are hostile: arguments are lists, options end before names, paths are taken
literally, no hook, pager, file system monitor or prompt runs, and each command has a time limit. What people have set
up for git (credential helpers, `insteadOf`, `safe.directory`) applies.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
import weakref
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mlflow_dsver import settings
from mlflow_dsver.deadlines import bounded
from mlflow_dsver.errors import NotFound, ProviderUnavailable, SettingsError, StoreError, UnexpectedResponse
from mlflow_dsver.secrets import redacted
from mlflow_dsver.text import one_line, os_text

GIT = "git"
SECONDS = 60.0
"""Time limit of a command that reads a repository on this machine."""
_OPTIONS = (
    "--no-pager", "--literal-pathspecs", "--no-optional-locks", "--no-replace-objects",
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.ext.allow=never",
    "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=30",
    "-c", "core.quotePath=false", "-c", "log.showSignature=false", "-c", "log.follow=false",
)  # fmt: skip
_ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_PREFIX"}
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_FIELDS = "%H%x00%ct%x00%an%x00%B"


class Commit(NamedTuple):
    """A commit. id: 40 hex digits, or 64. date: of the committer. message: whole."""

    id: str
    date: datetime
    author: str
    message: str


class TreeFile(NamedTuple):
    """A file of a commit. path: below the repository. mode: `100644`, `100755`, `120000` (a link), `160000` (a
    submodule). size: of the blob in bytes; 0 for a submodule. oid: of the blob.
    """

    path: str
    mode: str
    size: int
    oid: str


class Repository:
    """A repository on this machine. folder: a working tree, a folder in it, or a bare repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def commit_id(self, selector: str | None) -> str | None:
        """The id of the commit that a branch, tag, id or its beginning means, None for HEAD; None for no such."""
        for name in (selector, f"refs/remotes/origin/{selector}") if selector is not None else ("HEAD",):
            try:
                found = self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            except GitFailed:
                continue
            return found.decode().strip()
        return None

    def commit(self, commit_id: str) -> Commit | None:
        """A commit; None when the repository does not have it."""
        try:
            found = self.run("show", "-s", f"--format={_FIELDS}", "--end-of-options", f"{commit_id}^{{commit}}")
        except GitFailed:
            return None
        return _commit(found.decode(errors="replace").split("\0", 3))

    def commits(self, start: str, paths: Sequence[str]) -> Iterator[Commit]:
        """The commits that changed any of the paths (none: all), newest first, as far back as history goes."""
        arguments = ["log", "-z", f"--format={_FIELDS}", "--end-of-options", start, "--", *paths]
        with self._open(arguments) as process:
            assert process.stdout is not None
            rest = b""
            fields: list[bytes] = []
            while block := process.stdout.read1(1 << 16):  # type: ignore[attr-defined]
                *whole, rest = (rest + block).split(b"\0")
                for field in whole:
                    fields.append(field)
                    if len(fields) == 4:
                        yield _commit([each.decode(errors="replace") for each in fields])
                        fields.clear()

    def files(self, commit_id: str, path: str = "") -> Iterator[TreeFile]:
        """The files of a commit at or below a path, sorted as git sorts them. Raises UnexpectedResponse."""
        arguments = ["ls-tree", "-r", "-z", "--long", "--full-tree", commit_id, "--"]
        for line in self.run(*arguments, *([path] if path else [])).split(b"\0"):
            if not line:
                continue
            about, _, name = line.partition(b"\t")
            mode, _, oid, size = about.decode().split()
            if size == "BAD":
                raise NotFound(
                    f"the repository does not have the file {one_line(os.fsdecode(name), 200)}, or it is damaged",
                    provider="git",
                    operation="list the files",
                    got=f"object {oid}",
                    tip="git fsck, or git fetch",
                )
            try:
                yield TreeFile(name.decode(), mode, 0 if size == "-" else int(size), oid)
            except UnicodeDecodeError as error:
                raise UnexpectedResponse(f"a path that is not UTF-8: {ascii(name)[:100]}") from error

    def refs(self, kind: str) -> dict[str, str]:
        """Short names of tags or branches with the ids of their commits. kind: `tags` or `heads`."""
        form = "%(objectname) %(*objectname) %(refname:strip=2)"
        found = {}
        for line in (
            self.run("for-each-ref", f"--format={form}", f"refs/{kind}/").decode(errors="replace").splitlines()
        ):
            oid, peeled, name = line.split(" ", 2)
            found[name] = peeled or oid
        return found

    def content(self, commit_id: str, path: str) -> bytes | None:
        """The content of a file at a commit; None when there is none."""
        try:
            return self.run("cat-file", "blob", f"{commit_id}:{path}")
        except GitFailed:
            return None

    def origin(self) -> str | None:
        """The address of the remote `origin`, without user and password; None for none."""
        try:
            found = self.run("config", "--get", "remote.origin.url").decode().strip()
        except GitFailed:
            return None
        return re.sub(r"(://)[^/@]*@", r"\1", found)

    def git_folder(self) -> Path:
        """The folder of objects and refs, which work trees share."""
        return Path(self.run("rev-parse", "--path-format=absolute", "--git-common-dir").decode().rstrip("\n"))

    def run(self, *arguments: str, seconds: float = SECONDS, given: bytes | None = None) -> bytes:
        """What a command prints. given: its standard input. Raises GitFailed when it fails.

        Also ProviderUnavailable when it takes too long, and SettingsError without git.
        """
        left = bounded(seconds).left()
        command = [GIT, *_OPTIONS, "-C", os_text(str(self.folder)), *map(os_text, arguments)]
        try:
            done = subprocess.run(  # noqa: S603  (a list of arguments, options before names)
                command, input=given, stdin=None if given is not None else subprocess.DEVNULL, capture_output=True,
                timeout=left, env=_environment(), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ProviderUnavailable(
                f"git {arguments[0]} took longer than {left:.0f} seconds", got=self.folder
            ) from error
        except OSError as error:
            raise _no_git(error) from error
        if done.returncode != 0:
            said = _words(done.stderr) or f"exit code {done.returncode}"
            raise GitFailed(f"git {arguments[0]} failed", got=said)
        return done.stdout

    def _open(self, arguments: Sequence[str], *, writes: bool = False) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603  (a list of arguments, options before names)
                [GIT, *_OPTIONS, "-C", os_text(str(self.folder)), *map(os_text, arguments)],
                stdin=subprocess.PIPE if writes else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        except OSError as error:
            raise _no_git(error) from error


class Blobs:
    """Reads blobs through one `git cat-file`, which ends with this object; for several threads, and after a fork.

    sizes: only the size of each is asked for.
    """

    def __init__(self, repository: Repository, *, sizes: bool = False) -> None:
        self._repository, self._sizes, self._lock = repository, sizes, threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._process_id = os.getpid()
        command = ["cat-file", "--batch-check" if self._sizes else "--batch"]
        self._process = self._repository._open(command, writes=True)
        self.close = weakref.finalize(self, _end, self._process, self._process_id)

    def size(self, oid: str) -> int | None:
        """The size of a blob in bytes; None when the repository does not have it. Only where `sizes` was asked."""
        with self._lock:
            return self._ask(oid)

    def read(self, oid: str) -> bytes | None:
        """The content of a blob; None when the repository does not have it. Raises StoreError when it is damaged."""
        with self._lock:
            size = self._ask(oid)
            if size is None:
                return None
            assert self._process.stdout is not None
            content = self._process.stdout.read(size + 1)[:-1]
        if len(content) != size:
            raise StoreError(f"git cannot read the object {oid}", got="a damaged object", tip="git fsck")
        return content

    def _ask(self, oid: str) -> int | None:
        if self._process_id != os.getpid():  # the pipes of a forked process are its parent's as well
            self._lock = threading.Lock()
            self._begin()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{oid}\n".encode())
            process.stdin.flush()
            head = process.stdout.readline().decode().split()
        except (OSError, ValueError) as error:
            raise StoreError(f"git ended while the object {oid} was read", tip="git fsck") from error
        if len(head) == 2 and head[1] == "missing":
            return None
        if len(head) != 3 or head[1] != "blob":
            raise StoreError(f"git cannot read the object {oid}", got=one_line(" ".join(head), 100), tip="git fsck")
        return int(head[2])


class GitFailed(StoreError):
    """A git command that failed; `got` is what it said."""


def repository_of(folder: Path, reference: object | None = None) -> tuple[Repository, str]:
    """The repository that a folder or file lies in, and the path below it. Raises NotFound when there is none.

    reference: for the error.
    """
    below = [] if folder.is_dir() else [folder.name]
    start = folder if folder.is_dir() else folder.parent
    while not start.is_dir() and start != start.parent:  # a path that the commit has and the working tree has not
        below.insert(0, start.name)
        start = start.parent
    found = Repository(start)
    try:
        bare = found.run("rev-parse", "--is-bare-repository").strip() == b"true"
        if bare:
            return Repository(found.git_folder()), "/".join(below)
        top = found.run("rev-parse", "--show-toplevel").decode(errors="surrogateescape").rstrip("\n")
        prefix = found.run("rev-parse", "--show-prefix").decode(errors="surrogateescape").rstrip("\n").rstrip("/")
    except GitFailed as error:
        raise NotFound(
            f"{one_line(folder, 300)} lies in no git repository",
            provider="git",
            operation="open the repository",
            reference=reference,
            got=error.got,
            tip="git config --global --add safe.directory …" if "dubious" in str(error.got) else None,
        ) from error
    return Repository(Path(top)), "/".join(part for part in (prefix, *below) if part)


def is_oid(text: str) -> bool:
    """Whether a text is a whole id of git."""
    return _OID.match(text) is not None


def _environment() -> dict[str, str]:
    """Git's, without what a hook of git sets to name another repository, and without prompts."""
    found = settings.child_environment(
        GIT_TERMINAL_PROMPT="0",
        GIT_ASKPASS="true",
        GIT_SSH_COMMAND="ssh -oBatchMode=yes -oConnectTimeout=20",
        LC_ALL="C",
    )
    return {name: value for name, value in found.items() if name not in _ELSEWHERE}


def _commit(fields: Sequence[str]) -> Commit:
    commit_id, seconds, author, message = fields
    return Commit(commit_id, datetime.fromtimestamp(int(seconds), UTC), author, message.strip())


def _words(said: bytes) -> str:
    return one_line(redacted(re.sub(r"(://)[^/\s@]*@", r"\1", said.decode(errors="replace").strip())), 300)


def _no_git(error: OSError) -> SettingsError:
    return SettingsError(f"git cannot be run: {error.strerror}", tip="install git")


def _end(process: subprocess.Popen[bytes], process_id: int) -> None:
    if process_id != os.getpid():
        return
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.kill()
    process.wait()
