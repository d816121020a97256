"""An emulator of the Hugging Face Hub: repositories, commits, refs, listings, files, and what its client writes.

It answers the requests that the client `huggingface_hub` sends, with the bodies and headers that this client reads;
the Hub has no complete published reference. What is not published is a switch. Large files are served at another
host name (`localhost` instead of `127.0.0.1`) behind a redirect, as the Hub's storage is, and no token may arrive
there. Xet's own protocol is not emulated. It was not compared with the live service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote

from mlflow_dsver.emulators.serving import Emulator, Reply, Request, Switch
from mlflow_dsver.errors import InvalidArgument
from mlflow_dsver.providers.hf.emulator import responses, writing
from mlflow_dsver.providers.hf.emulator.repositories import Commit, File, Repository
from mlflow_dsver.providers.hf.emulator.responses import SWITCHES, Refused
from mlflow_dsver.providers.hf.info import KINDS, MAIN, place_of

USER = "someone"
_STORAGE = "emulated-storage"


class HfEmulator(Emulator):
    """The emulator; `HF_ENDPOINT` is its address. See `Emulator` for the arguments.

    seed: fill an empty state with a dataset of three commits and a model. Repositories are named as in references:
    `datasets/someone/digits` for a dataset, `someone/model` for a model.
    """

    name: ClassVar[str] = "hf"
    SWITCHES: ClassVar[tuple[Switch, ...]] = SWITCHES

    def __init__(self, *, seed: bool = False, **options: Any) -> None:
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        super().__init__(**options)
        if seed and not self.repositories:
            self.seed()

    # For tests, notebooks and demos

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables that point a client here; uploads by Xet would go to a service that is not here."""
        token = self.good_key or "any-token-will-do"
        return {"HF_ENDPOINT": self.address, "HF_TOKEN": token, "HF_HUB_DISABLE_XET": "1"}

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes | None],
        message: str = "",
        *,
        large: Iterable[str] = (),
        ref: str = f"refs/heads/{MAIN}",
        force: bool = False,
    ) -> str:
        """Commit files without a request, making the repository if there is none; return the commit's id.

        None deletes a file. large: paths in LFS. force: a commit without a parent that replaces the ref's history.
        """
        with self.lock:
            repository = self.repositories.setdefault(_key(name), Repository())
            return repository.add(files, message=message, user=USER, large=large, ref=ref, root=force)

    def repository(self, name: str) -> Repository:
        """A repository, to change it without a request."""
        return self.repositories[_key(name)]

    def tag(self, name: str, tag: str, commit: str) -> None:
        """Set a tag."""
        self.repository(name).refs[f"refs/tags/{tag}"] = commit

    def squash(self, name: str) -> str:
        """Squash the history of `main`; return the new commit's id."""
        return self.repository(name).squash()

    def delete(self, name: str) -> None:
        """Delete a repository."""
        del self.repositories[_key(name)]

    def rename(self, name: str, new: str) -> None:
        """Rename a repository; requests for the old name are redirected."""
        self.repositories[_key(new)] = self.repositories.pop(_key(name))
        self.renamed[_key(name)] = _key(new)

    def lose(self, name: str, path: str, commit: str) -> None:
        """Delete the bytes of a large file from the storage; commits still list it."""
        repository = self.repository(name)
        file = repository.commits[commit].files[path]
        if file.sha256 is None:
            raise InvalidArgument("not a large file", got=path)
        del repository.contents[file.sha256]

    def seed(self) -> None:
        """A dataset of three commits, of which the first has a tag, and a model."""
        name = "datasets/someone/digits"
        first = self.commit(
            name,
            {
                "README.md": b"# Digits\n",
                "data/train.csv": b"pixel,label\n0,7\n",
                "data/test.csv": b"pixel,label\n1,3\n",
            },
            "first upload",
        )
        self.commit(name, {"data/train.csv": b"pixel,label\n0,9\n"}, "relabelled")
        self.commit(name, {"data/images.bin": bytes(range(256)) * 64}, "images", large=["data/images.bin"])
        self.tag(name, "v1.0", first)
        self.commit(
            "someone/model", {"config.json": b"{}\n", "model.bin": bytes(5000)}, "weights", large=["model.bin"]
        )

    def snapshot(self) -> dict[str, Any]:
        """The whole state as JSON."""
        repositories = {name: each.to_json() for name, each in self.repositories.items()}
        return {"repositories": repositories, "renamed": self.renamed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.repositories = {name: Repository.from_json(each) for name, each in state["repositories"].items()}
        self.renamed = dict(state["renamed"])

    def error_reply(self, status: int) -> Reply:
        """The Hub's error body for a fault."""
        return Refused(status, f"injected fault {status}").reply()

    # Requests

    def answer(self, request: Request) -> Reply:
        """The response to a request."""
        try:
            if request.path[0] == _STORAGE:
                return self._storage(request)
            return self._hub(request)
        except Refused as refused:
            return refused.reply()

    def _hub(self, request: Request) -> Reply:
        path = request.path
        key = request.key("Bearer")
        if key is not None and self.good_key not in (None, key):
            raise Refused(401, "Invalid credentials in Authorization header")
        if path == ("api", "whoami-v2"):
            if key is None:
                raise Refused(401, "Invalid username or password.")
            return Reply(
                200, {"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": {"type": "access_token"}}
            )
        if path == ("api", "repos", "create") and request.verb == "POST":
            return self._create(request)
        if path == ("api", "validate-yaml") and request.verb == "POST":
            return Reply(200, {"errors": [], "warnings": []})
        if path[0] == "api" and len(path) >= 3 and path[1] in KINDS:
            return self._api(request, path[1], path[2:])
        if path[:2] == ("api", "resolve-cache"):
            path = path[2:]
        kind, rest = (path[0], path[1:]) if path[0] in KINDS else ("models", path)
        name, repository, rest = self._repository(request, kind, rest)
        if isinstance(repository, Reply):
            return repository
        match rest:
            case ("resolve", revision, *file) if request.verb in ("GET", "HEAD"):
                self._check_access(request, repository)
                return self._resolve(request, name, repository, revision, "/".join(file))
            case ("info", "lfs", "objects", "batch") if request.verb == "POST":
                return Reply(200, writing.lfs_batch(request, repository, self.address, name.replace("/", "--")))
        raise Refused(404, "Sorry, we can't find the page you are looking for.")

    def _repository(
        self, request: Request, kind: str, path: tuple[str, ...]
    ) -> tuple[str, Repository | Reply, tuple[str, ...]]:
        """The repository's key, itself, and the rest of a path; a redirect for one that was renamed."""
        for length in (2, 1):
            name = f"{kind}/" + "/".join(path[:length]).removesuffix(".git")
            if name in self.renamed:
                old, new = (each.partition("/")[2] for each in (name, self.renamed[name]))
                address = f"/{'/'.join(request.path)}".replace(old, new, 1)
                return name, Reply(307, b"", headers={"Location": address}), ()
            repository = self.repositories.get(name)
            if repository is not None and (not repository.private or request.key("Bearer") is not None):
                return name, repository, path[length:]
        status = int(self.switches["missing"]) if request.key("Bearer") is None else 404
        raise Refused(status, "Repository not found", "RepoNotFound")

    def _check_access(self, request: Request, repository: Repository) -> None:
        if repository.gated and not (repository.granted and request.key("Bearer")):
            status = 401 if request.key("Bearer") is None else 403
            raise Refused(status, "Access to this repository is restricted.", "GatedRepo")

    def _api(self, request: Request, kind: str, path: tuple[str, ...]) -> Reply:
        key, repository, rest = self._repository(request, kind, path)
        if isinstance(repository, Reply):
            return repository
        name = key.partition("/")[2]
        if request.verb != "GET":
            return self._write(request, repository, rest)
        if self.switches["mirror"] == "yes" and rest[:1] in (("commits",), ("refs",)):
            return Reply(404, b"<html>no such page</html>", "text/html")
        match rest:
            case ():
                return Reply(200, responses.info(name, repository, self._commit(repository, MAIN)))
            case ("revision", revision):
                return Reply(200, responses.info(name, repository, self._commit(repository, revision)))
            case ("refs",):
                return Reply(200, responses.refs(repository, pull_requests=request.first("include_prs") is not None))
            case ("commits", revision):
                found = repository.history(self._commit(repository, revision))
                return self._page([responses.commit_item(each) for each in found], request)
            case ("tree", revision, *below):
                if self.switches["gated-listing"] == "refused":
                    self._check_access(request, repository)
                commit = self._commit(repository, revision)
                recursive = (request.first("recursive") or "").lower() == "true"
                items = responses.tree(commit, "/".join(below), self.switches, recursive=recursive)
                return self._page(items, request)
        raise Refused(404, "Sorry, we can't find the page you are looking for.")

    def _write(self, request: Request, repository: Repository, rest: tuple[str, ...]) -> Reply:
        if request.key("Bearer") is None:
            raise Refused(401, "Invalid username or password.")
        match request.verb, rest:
            case "POST", ("paths-info", revision):
                return Reply(200, self._paths(request, repository, revision))
            case "POST", ("preupload", _):
                return Reply(200, writing.preupload(request))
            case "POST", ("commit", revision):
                made = writing.commit(request, repository, f"refs/heads/{revision}", USER)
                url = f"{self.address}/{'/'.join(request.path[1:4])}/commit/{made}"
                return Reply(200, {"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})
            case "POST", ("tag", revision):
                name = f"refs/tags/{writing.body_of(request).get('tag')}"
                if name in repository.refs:
                    raise Refused(409, "Tag reference exists already")
                repository.refs[name] = self._commit(repository, revision).id
                return Reply(200, {})
            case "DELETE", ("tag", tag):
                repository.refs.pop(f"refs/tags/{tag}", None)
                return Reply(200, {})
            case "POST", ("branch", branch):
                start = str(writing.body_of(request).get("startingPoint") or MAIN)
                repository.refs[f"refs/heads/{branch}"] = self._commit(repository, start).id
                return Reply(200, {})
            case "POST", ("super-squash", branch):
                message = str(writing.body_of(request).get("message") or "Super-squash branch")
                repository.squash(f"refs/heads/{branch}", message)
                return Reply(200, {})
        raise Refused(404, "Sorry, we can't find the page you are looking for.")

    def _paths(self, request: Request, repository: Repository, revision: str) -> list[dict[str, Any]]:
        commit = self._commit(repository, revision)
        paths = parse_qs(request.body.decode("utf-8", "replace")).get("paths", [])
        return [
            responses.file_item(path, commit.files[path], self.switches) for path in paths if path in commit.files
        ]

    def _create(self, request: Request) -> Reply:
        body = writing.body_of(request)
        key = f"{body.get('type') or 'model'}s/{body.get('organization') or USER}/{body.get('name')}"
        if key in self.repositories:
            raise Refused(409, "You already created this repo")
        private = body.get("private") is True or body.get("visibility") == "private"
        made = self.repositories[key] = Repository(private=private)
        made.add({".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n"}, message="initial commit")
        name = key.removeprefix("models/")
        return Reply(200, {"url": f"{self.address}/{name}", "name": name, "id": name})

    def _commit(self, repository: Repository, revision: str) -> Commit:
        found = repository.find(
            revision,
            short=self.switches["short-commit"] == "resolved",
            unreachable=self.switches["unreachable"] == "kept",
        )
        if found is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def _resolve(self, request: Request, name: str, repository: Repository, revision: str, path: str) -> Reply:
        commit = self._commit(repository, revision)
        file = commit.files.get(path)
        if file is None:
            raise Refused(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": commit.id, "ETag": f'"{file.sha256 or file.blob}"'}
        if file.sha256 is not None and self.switches["large-files"] == "elsewhere":
            headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
            storage = self.address.replace("127.0.0.1", "localhost")
            headers["Location"] = f"{storage}/{_STORAGE}/{name.replace('/', '--')}/{file.sha256}?Signature=emulated"
            return Reply(302, b"", "text/plain", headers)
        if file.sha256 is None and self.switches["small-files"] == "redirect" and request.path[0] != "api":
            address = quote(f"/api/resolve-cache/{name}/resolve/{commit.id}/{path}")
            return Reply(307, b"", "text/plain", {**headers, "Location": f"{address}?etag=%22{file.blob}%22"})
        return self._content(request, repository, file, headers)

    def _storage(self, request: Request) -> Reply:
        """The storage of large files, which takes no token."""
        if request.authorization is not None and request.verb != "PUT":
            raise Refused(400, "Only one auth mechanism allowed")
        match request.path:
            case (_, key, sha256) if key.replace("--", "/") in self.repositories:
                repository = self.repositories[key.replace("--", "/")]
                if request.verb == "PUT":
                    writing.upload(request, repository, sha256)
                    return Reply(200, b"", "text/plain")
                file = File(len(repository.contents.get(sha256, b"")), "", sha256)
                return self._content(request, repository, file, {"ETag": f'"{sha256}"'})
        return Reply(404, b"NoSuchKey", "text/plain")

    def _content(self, request: Request, repository: Repository, file: File, headers: Mapping[str, str]) -> Reply:
        content = repository.content(file)
        if content is None:
            return Reply(int(self.switches["lost"]), b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")
        return responses.part(content, headers, request, ranges=self.switches["ranges"] == "served")

    def _page(self, items: list[Any], request: Request) -> Reply:
        return responses.page(items, request, self.address, int(self.switches["page"]))


def _key(name: str) -> str:
    """The name of a repository with its kind, from that in a reference."""
    place = place_of(name)
    return f"{place.kind}/{place.repo}"
