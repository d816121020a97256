"""The provider of lakeFS: a version is a commit of a repository, or of a folder or object in one.

Branches, tags, short ids, expressions such as `main~1`, and `latest` (the default branch) are resolved to the full
commit id, and nothing else is ever recorded. The grade is B, since a commit is immutable, and C where objects were
imported, since these may change at their source. There is no hold: garbage collection goes by its retention rules,
and removes objects that a tag still names.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import DsverError, NotFound, ProviderError, UnexpectedResponse
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.file_checks import CheckFile
from mlflow_dsver.providers.file_provider import FileProvider, ReadFile
from mlflow_dsver.providers.interface import SUGGESTION_LIMIT, Capability, Health
from mlflow_dsver.providers.lakefs import reading
from mlflow_dsver.providers.lakefs.account import ENDPOINT_NAME, Account
from mlflow_dsver.providers.lakefs.account import origins as settings_origins
from mlflow_dsver.providers.lakefs.info import COMMIT, NAME, Place, place_of
from mlflow_dsver.providers.lakefs.listing import Listing, list_files, no_commit
from mlflow_dsver.providers.lakefs.server import Asked, Server
from mlflow_dsver.text import one_line

__all__ = ["LakefsProvider"]

log = logging.getLogger(__name__)

_KEPT, _MAX_KEPT_FILES = 4, 200_000
_listings: dict[object, Listing] = {}
"""The last listings of this process; a commit's listing never changes."""


class LakefsProvider(FileProvider):
    """Repositories of a lakeFS server, by the variables and file of lakeFS' own tools."""

    name = NAME
    capabilities = frozenset({Capability.TAGS, Capability.BYTES, Capability.EVIDENCE, Capability.DATASETS})
    settings_prefixes = ("LAKECTL_",)

    def __init__(self, *, progress: Progress = SILENT) -> None:
        self.progress = progress

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The commit of that id (64 hex digits), with its objects listed."""
        place = place_of(dataset)
        ref = DatasetRef(NAME, dataset, version)
        if not COMMIT.match(version):
            raise NotFound(
                "not the id of a commit",
                provider=NAME,
                operation="get the version",
                reference=ref,
                expected="64 hex digits",
            )
        server = self._server()
        repository = self._repository(server, place, ref)
        asked = Asked("get the version", ref)
        try:
            commit = server.json(("repositories", place.repository, "commits", version), asked)
        except NotFound as error:
            raise no_commit(ref, asked.operation) from error
        if commit.get("id") != version:
            raise server.unexpected("another commit than was asked for", asked, commit.get("id"))
        listing = list_files(server, place, version, _namespace(repository), ref)
        if place.path and not len(listing.manifest):
            raise self._not_found(ref, "the commit has no such file or folder")
        self._keep(server, place, version, listing)
        return self._described(server, place, commit, self._tags(server, place, ref), listing)

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """The default branch's newest commit, and those that touched the dataset, newest first; objects not listed.

        With a tag the commit that has it.
        """
        place, server = place_of(dataset), self._server()
        ref = DatasetRef(NAME, dataset)
        repository = self._repository(server, place, ref)
        tags = self._tags(server, place, ref)
        if tag is not None:
            if tag in tags:
                yield self.get(dataset, tags[tag])
            return
        commits = self._commits(server, place, _branch(repository), ref)
        first = next(commits, None)
        if first is None:
            if place.path:
                raise self._not_found(ref, "no commit of the default branch has such a file or folder")
            return
        newest = next(self._commits(server, Place(place.repository), _branch(repository), ref, 1))
        if newest["id"] != first["id"]:  # `latest`, whose history may be merged, so that `first` may have other files
            yield self._described(server, place, newest, tags)
        for commit in chain([first], commits):
            yield self._described(server, place, commit, tags)

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """The commit that a branch, tag, expression, commit id or its beginning means now. Raises NotFound."""
        place, server = place_of(ref.dataset), self._server()
        repository = self._repository(server, place, ref)
        selector = _branch(repository) if ref.selector in (None, LATEST) else str(ref.selector)
        asked = Asked("resolve", ref)
        if COMMIT.match(selector.lower()):
            try:
                return self.get(ref.dataset, selector.lower())
            except NotFound as error:
                error.tip = self._near(server, place, _branch(repository), ref) or error.tip
                raise
        try:
            path = ("repositories", place.repository, "refs", selector, "commits")
            found = server.json(path, asked, {"amount": 1}).get("results")
        except ProviderError as error:
            if error.status not in (400, 404):
                raise
            tip = self._near(server, place, _branch(repository), ref)
            raise self._not_found(ref, "no such branch, tag, expression or commit", tip) from error
        commit = found[0].get("id") if isinstance(found, list) and found and isinstance(found[0], dict) else None
        if not isinstance(commit, str) or not COMMIT.match(commit):
            raise server.unexpected("a reference without a commit", asked, commit)
        self._tell_uncommitted(server, place, selector, ref)
        return self.get(ref.dataset, commit)

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The same as `resolve`."""
        return self.resolve(ref)

    def datasets(self) -> Iterator[str]:
        """The repositories that the key may see."""
        server = self._server()
        names = server.pages(("repositories",), Asked("list the repositories", None))
        yield from sorted(str(each.get("id")) for each in names)

    def grade(self, version: DatasetVersion) -> Grade:
        """B; C with imported objects; D for a version whose objects were not listed."""
        with suppress(ValueError):
            return Grade.parse(str(version.raw.get("grade")))
        return Grade("D", ("objects not listed",))

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The objects of the commit."""
        return self._listing(version).manifest

    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """Reads from lakeFS; imported objects from their own store where the server gives a presigned address."""
        place = place_of(version.ref.dataset)
        return reading.reader_of(
            self._server(), place, version.id, manifest, lambda: self._listing(version).imported, version.ref
        )

    def checker(self, version: DatasetVersion, manifest: Manifest) -> CheckFile:
        """Compares with the commit's listing, and asks for one byte of each object."""
        place, server = place_of(version.ref.dataset), self._server()
        namespace = _namespace(self._repository(server, place, version.ref))
        return reading.checker_of(server, place, version.id, manifest, namespace, version.ref)

    def place(self, version: DatasetVersion) -> str:
        """The server and the dataset."""
        return f"{Account.from_settings().endpoint} {version.ref.at(None)}"

    def health(self) -> Health:
        """Whether the key is accepted."""
        origins: Mapping[str, str] = {ENDPOINT_NAME: "not set"}
        try:
            origins = settings_origins()
            account = Account.from_settings()
            Server(account).json(("repositories",), Asked("check the key", None), {"amount": 1})
            return Health(True, account.endpoint, origins)
        except DsverError as error:
            return Health(False, one_line(error, 500), origins)

    def cache_key(self) -> Mapping[str, object] | None:
        """The server and the key."""
        account = Account.from_settings()
        return {"endpoint": account.endpoint, "key": account.basic.reveal()}

    def _server(self) -> Server:
        return Server(Account.from_settings())

    def _repository(self, server: Server, place: Place, ref: DatasetRef) -> dict[str, Any]:
        return server.json(("repositories", place.repository), Asked("look for the repository", ref))

    def _tags(self, server: Server, place: Place, ref: DatasetRef) -> dict[str, str]:
        found = server.pages(("repositories", place.repository, "tags"), Asked("list the tags", ref))
        return {str(each.get("id")): str(each.get("commit_id")) for each in found}

    def _commits(
        self, server: Server, place: Place, name: str, ref: DatasetRef, amount: int = 100
    ) -> Iterator[dict[str, Any]]:
        query = {"objects": [place.path], "prefixes": [f"{place.path}/"]} if place.path else {}
        path = ("repositories", place.repository, "refs", name, "commits")
        asked = Asked("list the commits", ref)
        for each in server.pages(path, asked, query, amount):
            if not COMMIT.match(str(each.get("id"))):
                raise server.unexpected("a commit without an id", asked, each.get("id"))
            yield each

    def _near(self, server: Server, place: Place, branch: str, ref: DatasetRef) -> str | None:
        """References with names like the one that was not found."""
        names: list[str] = []
        with suppress(DsverError):
            branches = server.pages(("repositories", place.repository, "branches"), Asked("list the branches", ref))
            names = [*self._tags(server, place, ref), *(str(each.get("id")) for each in islice(branches, 1000))]
            commits = self._commits(server, Place(place.repository), branch, ref)
            names += [str(each["id"]) for each in islice(commits, SUGGESTION_LIMIT)]
        return ", ".join(str(ref.at(each)) for each in nearest(str(ref.selector), names)) or None

    def _tell_uncommitted(self, server: Server, place: Place, selector: str, ref: DatasetRef) -> None:
        """Log that a branch has uncommitted changes, which are in no version."""
        path = ("repositories", place.repository, "branches", selector, "diff")
        with suppress(ProviderError):  # a tag, an expression, or a commit
            found = server.json(path, Asked("look for uncommitted changes", ref), {"amount": 1, "prefix": place.path})
            if found.get("results"):
                log.warning("%s: the branch has uncommitted changes, which are not in the version", ref)

    def _listing(self, version: DatasetVersion) -> Listing:
        place, server = place_of(version.ref.dataset), self._server()
        found = _listings.get(self._key(server, place, version.id))
        if found is None:
            namespace = _namespace(self._repository(server, place, version.ref))
            found = list_files(server, place, version.id, namespace, version.ref)
            self._keep(server, place, version.id, found)
        return found

    def _key(self, server: Server, place: Place, commit: str) -> object:
        return server.account.endpoint, server.account.basic, place, commit

    def _keep(self, server: Server, place: Place, commit: str, listing: Listing) -> None:
        if len(listing.manifest) <= _MAX_KEPT_FILES:
            while len(_listings) >= _KEPT:
                _listings.pop(next(iter(_listings)), None)
            _listings[self._key(server, place, commit)] = listing

    def _described(
        self,
        server: Server,
        place: Place,
        commit: Mapping[str, Any],
        tags: Mapping[str, str],
        listing: Listing | None = None,
    ) -> DatasetVersion:
        raw: dict[str, Any] = {"commit": dict(commit)}
        if listing is not None:
            raw["grade"] = str(listing.grade)
        message, committer, metadata = (commit.get(name) for name in ("message", "committer", "metadata"))
        name = str(commit["id"])
        return DatasetVersion(
            DatasetRef(NAME, place.dataset, name),
            tags=tuple(tag for tag, target in tags.items() if target == name and tag != LATEST),
            message=message if isinstance(message, str) and message else None,
            metadata=metadata if isinstance(metadata, dict) else {},
            usage_bytes=None if listing is None else listing.manifest.total_bytes,
            content_digest=None if listing is None else listing.manifest.digest,
            created=_date(commit.get("creation_date")),
            creator=committer if isinstance(committer, str) and committer else None,
            immutable=None if listing is not None and listing.imported else True,
            web_url=server.page_url(place, name),
            raw=raw,
        )


def _branch(repository: Mapping[str, Any]) -> str:
    return str(repository.get("default_branch") or "main")


def _namespace(repository: Mapping[str, Any]) -> str:
    found = repository.get("storage_namespace")
    if not isinstance(found, str) or not found:
        raise UnexpectedResponse(
            "lakeFS did not say where the repository keeps its objects", provider=NAME, operation="list the files"
        )
    return found


def _date(seconds: object) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(str(seconds)), UTC)
    except (ValueError, OverflowError, OSError):
        return None
