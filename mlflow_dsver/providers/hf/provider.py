"""The provider of the Hugging Face Hub: a version is a commit of a repository, or of a folder or file in one.

A branch, a tag, `refs/pr/3`, a short commit id and `latest` (the branch `main`) are resolved to the full commit id,
and nothing else is ever recorded. The grade is B: the Hub identifies every file of a commit, by SHA-256 or by git's
SHA-1; bytes are compared with these whenever they are read. A commit is immutable, but not for ever there: a force
push or `super_squash_history` removes it, and then it is NotFound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any

from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.errors import DsverError, NotFound, ProviderUnavailable, UnexpectedResponse
from mlflow_dsver.model.manifests import FileEntry, Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest
from mlflow_dsver.model.versions import DatasetVersion, Grade
from mlflow_dsver.providers.file_checks import Bytes, CheckFile, check_files
from mlflow_dsver.providers.file_provider import FileProvider, ReadFile
from mlflow_dsver.providers.hf import check, listing, reading
from mlflow_dsver.providers.hf.account import ENDPOINT_NAME, TOKEN_NAME, Account
from mlflow_dsver.providers.hf.cache import kept_listing
from mlflow_dsver.providers.hf.hub import NO_REPOSITORY, NO_REVISION, Asked, Hub, hub_of
from mlflow_dsver.providers.hf.info import COMMIT, MAIN, NAME, Place, normalised, place_of
from mlflow_dsver.providers.interface import SUGGESTION_LIMIT, Capability, FileCheck, Health
from mlflow_dsver.providers.values import KeepList
from mlflow_dsver.secrets import Secret
from mlflow_dsver.text import one_line

__all__ = ["HfProvider"]

PAGE = 100
"""Commits of a page."""
SEARCHED = 5000
"""Commits of `main` that are searched for a short commit id at most."""
_SHORT = re.compile(r"[0-9a-f]{7,39}\Z")
_KEPT, _MAX_KEPT_FILES = 4, 200_000
_REWRITTEN = (
    "the repository does not have this commit: its history may have been rewritten (a force push, or "
    "super_squash_history), or the commit never was in it"
)

_manifests: dict[object, Manifest] = {}
"""The last listings of this process. A commit's listing never changes; whether it is still there is asked anew."""


class HfProvider(FileProvider):
    """Repositories of the Hugging Face Hub. Arguments win over the Hub's own variables and files."""

    name = NAME
    capabilities = frozenset({Capability.TAGS, Capability.BYTES, Capability.EVIDENCE})
    settings_prefixes = ("HUGGING_FACE_HUB_", "HUGGINGFACE_", "TRANSFORMERS_OFFLINE", "XDG_CACHE_HOME")

    def __init__(
        self, *, endpoint: str | None = None, token: str | Secret | None = None, progress: Progress = SILENT
    ) -> None:
        self._endpoint = endpoint
        self._token = token if token is None or isinstance(token, Secret) else Secret(token)
        self.progress = progress

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The commit of that id (40 hex digits), with its files listed."""
        place = place_of(dataset)
        ref = DatasetRef(NAME, place.dataset, version)
        hub = self._hub()
        if not COMMIT.match(version):
            raise NotFound(
                "not the id of a commit", expected="40 hex digits", **self._about(ref, "get the version", NO_REVISION)
            )
        try:
            manifest = listing.list_files(hub, place, version, ref)
        except NotFound as error:
            if error.code == NO_REVISION:
                raise NotFound(
                    _REWRITTEN, status=error.status, **self._about(ref, error.operation, NO_REVISION)
                ) from error
            raise
        self._keep(place, version, manifest)
        return self._version(hub, place, version, manifest)

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """The commits of `main`, newest first; with a tag the commit that has it. Their files are not listed."""
        place, hub = place_of(dataset), self._hub()
        ref = DatasetRef(NAME, place.dataset)
        tags = self._refs(hub, place, ref)["tags"]
        if tag is not None:
            if tag in tags:
                yield self.get(place.dataset, tags[tag])
            return
        for commit in self._commits(hub, place, MAIN, ref):
            yield self._described(hub, place, commit["id"], commit, tags)

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """The commit that a branch, tag, other ref, commit id or its beginning means now. Raises NotFound."""
        place, selector = normalised(ref.dataset, ref.selector)
        hub = self._hub()
        selector = MAIN if selector in (None, LATEST) else selector
        assert selector is not None
        try:
            if COMMIT.match(selector.lower()):
                return self.get(place.dataset, selector.lower())
            return self._head(hub, place, selector, ref)
        except NotFound as error:
            if error.code != NO_REVISION:
                raise
            found = self._otherwise(hub, place, selector, ref)
            if isinstance(found, DatasetVersion):
                return found
            what = error.what if COMMIT.match(selector.lower()) else "no such branch, tag, ref or commit"
            raise NotFound(what, tip=found, **self._about(ref, "resolve", NO_REVISION)) from error

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The same as `resolve`."""
        return self.resolve(ref)

    def grade(self, version: DatasetVersion) -> Grade:
        """B, and what the identity of the files rests on where they were listed."""
        with suppress(ValueError):
            return Grade.parse(str(version.raw.get("grade")))
        return Grade("B", ("immutable by commit",))

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The files of the commit; where the Hub does not answer, the listing that its own client kept, if right."""
        place, hub = place_of(version.ref.dataset), self._hub()
        found = _manifests.get(self._key(place, version.id))
        if found is not None:
            return found
        try:
            found = listing.list_files(hub, place, version.id, version.ref)
        except ProviderUnavailable:
            found = self._kept(place, version)
            if found is None:
                raise
        self._keep(place, version.id, found)
        return found

    def reader(self, version: DatasetVersion, manifest: Manifest) -> ReadFile:
        """Reads from the Hub's cache on this machine, else from the Hub."""
        place = place_of(version.ref.dataset)
        return reading.reader_of(self._hub(), place, version.id, manifest, version.ref)

    def checker(self, version: DatasetVersion, manifest: Manifest) -> CheckFile:
        """Compares with the Hub's listing of the commit, and asks whether large files are there."""
        place = place_of(version.ref.dataset)
        return check.checker_of(self._hub(), place, version.id, manifest, version.ref)

    def check_files(
        self, version: DatasetVersion, entries: Sequence[FileEntry], manifest: Manifest, *, read: bool
    ) -> FileCheck | None:
        """Compare files with the Hub's listing, and when `read` their bytes as the Hub, not its cache, gives them."""
        fetch = reading.fetcher_of(self._hub(), place_of(version.ref.dataset), version.id, manifest, version.ref)
        content = Bytes(fetch) if read else None
        return check_files(entries, self.checker(version, manifest), self.progress, version.ref, content)

    def place(self, version: DatasetVersion) -> str:
        """The endpoint and the repository."""
        return f"{self._account().endpoint} {version.ref.at(None)}"

    def keep_list(self, dataset: str, versions: Sequence[str]) -> KeepList | None:
        """Tags for those commits that have none: a squash or a force push removes only what no ref leads to."""
        place, hub = place_of(dataset).whole, self._hub()
        ref = DatasetRef(NAME, place.dataset)
        tagged = set(self._refs(hub, place, ref)["tags"].values())
        missing = []
        for commit in sorted(versions):
            try:
                self._commit_of(hub, place, commit, ref)
            except NotFound as error:
                if error.code != NO_REVISION:
                    raise
                missing.append(commit)
        commits = tuple(sorted(set(versions) - tagged - set(missing)))
        if not commits and not missing:
            return None
        kind = f"repo_type={place.kind.removesuffix('s')!r}"
        call = f"HfApi().create_tag({place.repo!r}, {kind}, tag=f'keep-{{each[:12]}}', revision=each)"
        return KeepList(commits, f"[{call} for each in {list(commits)}]", tuple(missing))

    def elsewhere(self, version: DatasetVersion) -> str | None:
        """The Hub does not tell a repository that was deleted from one that this token may not see."""
        place, hub = place_of(version.ref.dataset).whole, self._hub()
        try:
            hub.json(hub.api(place), Asked("look for the repository", version.ref, place))
        except NotFound as error:
            if error.code == NO_REPOSITORY:
                return (
                    "the repository was deleted or renamed, or this token may not see it: the Hub does not tell which"
                )
        return None

    def health(self) -> Health:
        """Whose token it is; without one nothing is asked."""
        origins: Mapping[str, str] = {ENDPOINT_NAME: "not set", TOKEN_NAME: "not set"}
        try:
            account = self._account()
            origins = account.origins
            if account.token is None:
                return Health(True, f"{account.endpoint}, public repositories alone: no token", origins)
            found = Hub(account).json("api/whoami-v2", Asked("check the token", None, Place("models", "")))
            who = found.get("name") if isinstance(found, dict) else None
            return Health(True, f"{account.endpoint} as {one_line(who, 80)}", origins)
        except DsverError as error:
            return Health(False, one_line(error, 500), origins)

    def cache_key(self) -> Mapping[str, object] | None:
        """The endpoint and the token."""
        account = self._account()
        return {"endpoint": account.endpoint, "token": account.token and account.token.reveal()}

    def _account(self) -> Account:
        return Account.from_settings(endpoint=self._endpoint, token=self._token)

    def _hub(self) -> Hub:
        return hub_of(self._account())

    def _about(self, ref: DatasetRef, operation: str | None, code: str | None = None) -> dict[str, Any]:
        return {"provider": NAME, "operation": operation, "reference": ref, "code": code}

    def _key(self, place: Place, commit: str) -> object:
        account = self._account()
        return account.endpoint, account.token, place, commit

    def _keep(self, place: Place, commit: str, manifest: Manifest) -> None:
        if len(manifest) <= _MAX_KEPT_FILES:
            while len(_manifests) >= _KEPT:
                _manifests.pop(next(iter(_manifests)), None)
            _manifests[self._key(place, commit)] = manifest

    def _kept(self, place: Place, version: DatasetVersion) -> Manifest | None:
        """The listing in the Hub's cache, when its digest is the version's."""
        cache = self._account().cache
        files = kept_listing(cache, place, version.id) if cache is not None else None
        if files is None:
            return None
        manifest = listing.manifest_of(files, place, version.id)
        return manifest if manifest is not None and manifest.digest == version.content_digest else None

    def _head(self, hub: Hub, place: Place, revision: str, ref: DatasetRef) -> DatasetVersion:
        """The commit of a branch, tag or other ref.

        After a force push the Hub was seen to name the former commit, which it had no more (huggingface_hub #3406);
        its list of commits began with the right one.
        """
        commit = self._commit_of(hub, place, revision, ref)
        try:
            return self.get(place.dataset, commit)
        except NotFound as error:
            if error.code != NO_REVISION:
                raise
            first = next(self._commits(hub, place, revision, ref, 1), None)
            if first is None or first["id"] == commit:
                raise
            return self.get(place.dataset, first["id"])

    def _commit_of(self, hub: Hub, place: Place, revision: str, ref: DatasetRef) -> str:
        asked = Asked("resolve", ref, place)
        found = hub.json(hub.api(place, "revision", revision), asked)
        commit = found.get("sha") if isinstance(found, dict) else None
        if not isinstance(commit, str) or not COMMIT.match(commit):
            raise hub.unexpected("an answer without the commit", asked, commit)
        return commit

    def _refs(self, hub: Hub, place: Place, ref: DatasetRef) -> dict[str, dict[str, str]]:
        """The repository's branches, converts and tags, with the commit of each."""
        asked = Asked("list the refs", ref, place)
        found = hub.json(hub.api(place, "refs"), asked)
        try:
            return {
                kind: {str(each["name"]): str(each["targetCommit"]) for each in found.get(kind) or ()}
                for kind in ("branches", "converts", "tags")
            }
        except (TypeError, KeyError, AttributeError) as error:
            raise hub.unexpected("refs that cannot be read", asked, None) from error

    def _commits(self, hub: Hub, place: Place, revision: str, ref: DatasetRef, page: int = PAGE) -> Iterator[Any]:
        asked = Asked("list the commits", ref, place)
        for each in hub.pages(hub.api(place, "commits", revision), asked, {"limit": str(page)}):
            if not isinstance(each, dict) or not COMMIT.match(str(each.get("id"))):
                raise hub.unexpected("a commit without an id", asked, each)
            yield each

    def _otherwise(self, hub: Hub, place: Place, selector: str, ref: DatasetRef) -> DatasetVersion | str | None:
        """What a selector that the Hub does not know may mean: a short id, or a ref with a path; else near names."""
        refs: dict[str, str] = {}
        commits: list[str] = []
        with suppress(UnexpectedResponse):  # a mirror may have neither
            refs = {name: commit for group in self._refs(hub, place, ref).values() for name, commit in group.items()}
            limit = SEARCHED if _SHORT.match(selector) else SUGGESTION_LIMIT
            commits = [each["id"] for each in islice(self._commits(hub, place, MAIN, ref), limit)]
        starts = [name for name in refs if selector.startswith(f"{name}/")]
        if len(starts) == 1 and not place.path:
            return self.resolve(DatasetRef(NAME, f"{place.dataset}/{selector[len(starts[0]) + 1 :]}", starts[0]))
        if _SHORT.match(selector):
            matching = sorted({each for each in (*commits, *refs.values()) if each.startswith(selector)})
            if len(matching) == 1:
                return self.get(place.dataset, matching[0])
            if matching:
                return ", ".join(str(ref.at(each)) for each in matching[:3])
        near = nearest(selector, [*commits[:SUGGESTION_LIMIT], *refs]) or [*refs][:5]
        return ", ".join(str(ref.at(each)) for each in near) or None

    def _version(self, hub: Hub, place: Place, commit: str, manifest: Manifest) -> DatasetVersion:
        """A listed commit. Servers that are only mirrors may have no list of commits or refs: then it says less."""
        ref = DatasetRef(NAME, place.dataset, commit)
        found, tags = None, {}
        with suppress(UnexpectedResponse):
            found = next(self._commits(hub, place, commit, ref, 1), None)
        with suppress(UnexpectedResponse):
            tags = self._refs(hub, place, ref)["tags"]
        if found is None or found["id"] != commit:
            found = {}
        return self._described(hub, place, commit, found, tags, manifest)

    def _described(
        self,
        hub: Hub,
        place: Place,
        commit: str,
        found: Mapping[str, Any],
        tags: Mapping[str, str],
        manifest: Manifest | None = None,
    ) -> DatasetVersion:
        texts = [found.get(name) for name in ("title", "message")]
        lines = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
        authors = found.get("authors")
        users = [each.get("user") for each in authors if isinstance(each, dict)] if isinstance(authors, list) else []
        raw: dict[str, Any] = {"commit": dict(found)}
        if manifest is not None:
            raw["grade"] = str(listing.grade_of(manifest))
        return DatasetVersion(
            DatasetRef(NAME, place.dataset, commit),
            tags=tuple(name for name, target in tags.items() if target == commit and name != LATEST),
            message="\n\n".join(lines) or None,
            usage_bytes=None if manifest is None else manifest.total_bytes,
            content_digest=None if manifest is None else manifest.digest,
            created=_date(found.get("date")),
            creator=", ".join(user for user in users if isinstance(user, str)) or None,
            immutable=True,
            web_url=hub.page_url(
                place._replace(path=listing.fixed_part(place.path)),
                "blob" if manifest is not None and manifest.made["file"] else "tree",
                commit,
            ),
            raw=raw,
        )


def _date(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
