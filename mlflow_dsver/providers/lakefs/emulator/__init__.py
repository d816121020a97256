"""An emulator of lakeFS: repositories, commits, branches, tags, listings and objects by its published OpenAPI.

It answers what `mlflow-dsver` and readers of the API ask: nothing is written by requests. What the document leaves
open is a switch. Presigned addresses are at another host name (`localhost` instead of `127.0.0.1`), and no key may
arrive there. It was not compared with the live service.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from mlflow_dsver.emulators.serving import Emulator, Reply, Request, Switch
from mlflow_dsver.providers.lakefs.emulator.repositories import Commit, Object, Repository

KEY_ID = "AKIAEMULATEDLAKEFS"
_STORE = "emulated-store"


class Refused(Exception):
    """A failure in the API's own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class LakefsEmulator(Emulator):
    """The emulator; see `Emulator` for the arguments. seed: fill an empty state with a repository `quickstart`."""

    name: ClassVar[str] = "lakefs"
    SWITCHES: ClassVar[tuple[Switch, ...]] = (
        Switch("stat-of-lost", "stat of an object that garbage collection removed", ("shown", "410", "404")),
        Switch("lost", "getObject of an object that garbage collection removed", ("404", "410", "500")),
        Switch("presign", "presigned addresses", ("served", "refused")),
        Switch("ranges", "a request for a part of an object", ("served", "ignored")),
        Switch("disk", "whether the server keeps objects on its own disk, and tells addresses there", ("no", "yes")),
        Switch("page", "items of a page at most", ("1000",), numbers=(1, 1000)),
    )

    def __init__(self, *, seed: bool = False, **options: Any) -> None:
        self.repositories: dict[str, Repository] = {}
        super().__init__(**options)
        if seed and not self.repositories:
            first = self.commit("quickstart", {"lakes.csv": b"lake,area\nBaikal,31722\n"}, "first import")
            self.commit("quickstart", {"lakes.csv": b"lake,area\nBaikal,31500\n"}, "corrected")
            self.tag("quickstart", "v1", first)

    # For tests, notebooks and demos

    @property
    def variables(self) -> Mapping[str, str]:
        """Environment variables that point a client here."""
        return {
            "LAKECTL_SERVER_ENDPOINT_URL": self.address,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY_ID,
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": self.good_key or "any-key-will-do",
        }

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes | None],
        message: str = "",
        *,
        branch: str = "main",
        imported: Iterable[str] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Commit files without a request, making the repository if there is none; return the commit's id.

        None deletes a file. imported: paths of files whose bytes stay outside of the repository's storage.
        """
        with self.lock:
            repository = self.repositories.setdefault(name, Repository(name))
            return repository.add(files, message, branch=branch, imported=imported, metadata=dict(metadata or {}))

    def tag(self, name: str, tag: str, commit: str) -> None:
        """Set a tag."""
        self.repositories[name].tags[tag] = commit

    def stage(self, name: str, path: str, branch: str = "main") -> None:
        """Leave an uncommitted change on a branch."""
        self.repositories[name].staged.setdefault(branch, []).append(path)

    def collect(self, name: str, path: str, commit: str) -> None:
        """Remove an object's bytes, as garbage collection does; commits still list it."""
        repository = self.repositories[name]
        del repository.contents[repository.commits[commit].objects[path].address]

    def overwrite(self, name: str, path: str, commit: str, content: bytes) -> None:
        """Change an object's bytes at its source, behind lakeFS' back."""
        repository = self.repositories[name]
        repository.contents[repository.commits[commit].objects[path].address] = content

    def delete(self, name: str) -> None:
        """Delete a repository."""
        del self.repositories[name]

    def snapshot(self) -> dict[str, Any]:
        """The whole state as JSON."""
        return {"repositories": {name: each.to_json() for name, each in self.repositories.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `snapshot` returned."""
        self.repositories = {name: Repository.from_json(each) for name, each in state["repositories"].items()}

    def error_reply(self, status: int) -> Reply:
        """The API's error body for a fault."""
        return Reply(status, {"message": f"injected fault {status}"})

    # Requests

    def answer(self, request: Request) -> Reply:
        """The response to a request."""
        try:
            if request.path[0] == _STORE:
                return self._store(request)
            if request.path[:2] != ("api", "v1"):
                raise Refused(404, "no such page")
            self._check_key(request)
            reply = self._api(request, request.path[2:])
            if self.switches["disk"] == "yes" and not isinstance(reply.body, bytes):
                text = json.dumps(reply.body).replace('_address": "s3://', '_address": "local:///var/lakefs/')
                reply = replace(reply, body=json.loads(text.replace("s3://emulated/", "local://emulated/")))
            return reply
        except Refused as refused:
            return Reply(refused.status, {"message": refused.message})

    def _check_key(self, request: Request) -> None:
        try:
            pair = base64.b64decode(request.key("Basic") or "", validate=True).decode()
        except ValueError:
            pair = ""
        _, _, secret = pair.partition(":")
        if not secret or self.good_key not in (None, secret):
            raise Refused(401, "error authenticating request")

    def _api(self, request: Request, path: tuple[str, ...]) -> Reply:
        if request.verb not in ("GET", "HEAD"):
            raise Refused(405, "the emulator takes no changes by requests")
        if path == ("config",):
            return Reply(200, self._config())
        if path == ("repositories",):
            return self._page([(name, each.to_json_of_api()) for name, each in self.repositories.items()], request)
        repository = self.repositories.get(path[1]) if len(path) > 1 and path[0] == "repositories" else None
        if repository is None:
            raise Refused(404, "repository not found")
        match path[2:]:
            case ():
                return Reply(200, repository.to_json_of_api())
            case ("tags" | "branches" as kind,):
                refs = repository.tags if kind == "tags" else repository.branches
                return self._page([(name, {"id": name, "commit_id": refs[name]}) for name in refs], request)
            case ("tags" | "branches" as kind, name):
                refs = repository.tags if kind == "tags" else repository.branches
                if name not in refs:
                    raise Refused(404, "not found")
                return Reply(200, {"id": name, "commit_id": refs[name]})
            case ("branches", branch, "diff"):
                return self._diff(request, repository, branch)
            case ("commits", commit):
                return Reply(200, self._commit(repository, commit).to_json())
            case ("refs", ref, "commits"):
                return self._log(request, repository, ref)
            case ("refs", ref, "objects", *what):
                return self._objects(request, repository, self._commit(repository, ref), what)
        raise Refused(404, "no such page")

    def _config(self) -> dict[str, Any]:
        presigns = self.switches["presign"] == "served"
        storage = {
            "blockstore_type": "s3",
            "blockstore_namespace_example": "s3://example-bucket/",
            "blockstore_namespace_ValidityRegex": "^s3://",
            "pre_sign_support": presigns,
            "pre_sign_support_ui": presigns,
            "import_support": True,
            "import_validity_regex": "^s3://",
        }
        return {"version_config": {"version": "1.0.0"}, "storage_config": storage}

    def _commit(self, repository: Repository, ref: str) -> Commit:
        found = repository.find(ref)
        if found is None:
            raise Refused(404, "commit not found")
        return found

    def _page(self, items: Sequence[tuple[str, Any]], request: Request, *, ordered: bool = True) -> Reply:
        """A page of items with their offsets. ordered: by the offset; else as given."""
        after, asked = request.first("after") or "", request.first("amount") or "100"
        limit = min(int(self.switches["page"]), int(asked) if asked.isdecimal() and int(asked) > 0 else 1000)
        found = sorted(items) if ordered else list(items)
        if ordered:
            found = [each for each in found if each[0] > after]
        elif after:
            names = [name for name, _ in found]
            found = found[names.index(after) + 1 :] if after in names else []
        shown = found[:limit]
        more = len(found) > len(shown)
        pagination = {
            "has_more": more,
            "next_offset": shown[-1][0] if more else "",
            "results": len(shown),
            "max_per_page": 1000,
        }
        return Reply(200, {"pagination": pagination, "results": [value for _, value in shown]})

    def _diff(self, request: Request, repository: Repository, branch: str) -> Reply:
        if branch not in repository.branches:
            raise Refused(404, "branch not found")
        prefix = request.first("prefix") or ""
        paths = [path for path in repository.staged.get(branch, []) if path.startswith(prefix)]
        return self._page([(path, {"type": "added", "path": path, "path_type": "object"}) for path in paths], request)

    def _log(self, request: Request, repository: Repository, ref: str) -> Reply:
        objects, prefixes = request.query.get("objects", []), tuple(request.query.get("prefixes", []))
        history = repository.history(self._commit(repository, ref))
        if objects or prefixes:
            history = [each for each in history if repository.touches(each, objects, prefixes)]
        return self._page([(each.id, each.to_json()) for each in history], request, ordered=False)

    def _objects(self, request: Request, repository: Repository, commit: Commit, what: list[str]) -> Reply:
        if what == ["ls"]:
            prefix = request.first("prefix") or ""
            found = {path: each for path, each in commit.objects.items() if path.startswith(prefix)}
            return self._page([(path, each.to_json_of_api(path)) for path, each in found.items()], request)
        path = request.first("path") or ""
        entry = commit.objects.get(path)
        if entry is None:
            raise Refused(404, "path not found")
        lost = entry.address not in repository.contents
        if what == ["stat"]:
            if lost and self.switches["stat-of-lost"] != "shown":
                raise Refused(int(self.switches["stat-of-lost"]), "object not found")
            return Reply(200, entry.to_json_of_api(path))
        if what:
            raise Refused(404, "no such page")
        return self._content(request, repository, entry)

    def _content(self, request: Request, repository: Repository, entry: Object) -> Reply:
        if request.first("presign") == "true":
            if self.switches["presign"] == "refused":
                raise Refused(501, "presigned addresses are not supported by this block store")
            address = self.address.replace("127.0.0.1", "localhost")
            key = base64.urlsafe_b64encode(entry.address.encode()).decode()
            return Reply(
                302,
                b"",
                "text/plain",
                {"Location": f"{address}/{_STORE}/{repository.name}/{key}?X-Signature=emulated"},
            )
        content = repository.contents.get(entry.address)
        if content is None:
            status = int(self.switches["lost"])
            raise Refused(status, "NoSuchKey: The specified key does not exist." if status == 500 else "not found")
        return self._part(content, entry.checksum, request)

    def _store(self, request: Request) -> Reply:
        if request.authorization is not None:
            return Reply(400, b"<Error><Code>InvalidArgument</Code></Error>", "application/xml")
        repository = self.repositories.get(request.path[1])
        address = base64.urlsafe_b64decode(request.path[2]).decode()
        content = repository.contents.get(address) if repository else None
        if content is None:
            return Reply(404, b"<Error><Code>NoSuchKey</Code></Error>", "application/xml")
        return self._part(content, Object.of(content, address).checksum, request)

    def _part(self, content: bytes, etag: str, request: Request) -> Reply:
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
        if found is None or self.switches["ranges"] == "ignored":
            return Reply(200, content, "application/octet-stream", headers)
        start, stop = int(found[1]), min(int(found[2]) + 1, len(content))
        if start >= len(content):
            raise Refused(416, "Requested Range Not Satisfiable")
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return Reply(206, content[start:stop], "application/octet-stream", headers)
