"""Paperspace: implements the provider interface.

The vendor states that a committed version is immutable (grade B; A where its bytes were hashed here); an uncommitted
version may still change and is refused as an input unless allowed (grade D). The API has no files: a version's bytes
come from a mount, a configured folder, or the team's own bucket, and `create` records a version without uploading
any. Resolving an id or a version costs at most two requests, `latest` of an id one, and the dataset's name one more;
a dataset given by its name costs a listing of the team's datasets instead. A selector that is both a version's id and
another version's tag means the id.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.content.hashing import copy_folder, hash_folder
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import CorruptObject, DsverError, ProviderError, Unsupported
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef
from mlflow_dsver.model.versions import DatasetVersion, Grade, Letter
from mlflow_dsver.providers.interface import Capability, Health, LocalCopy, Provider
from mlflow_dsver.providers.paperspace import bucket, info, local_files, lookup, models, writing
from mlflow_dsver.providers.paperspace.client import PaperspaceClient, connect
from mlflow_dsver.providers.paperspace.info import KEY_FILES, Account
from mlflow_dsver.providers.paperspace.local_files import Found, Roots
from mlflow_dsver.secrets import Secret

log = logging.getLogger(__name__)

_known_folders: dict[str, Path] = {}
"""Canonical reference to the folder that was passed to `identify` in this process, shared by all instances."""
_created_from: dict[str, Path] = {}
"""Canonical reference to the folder that was passed to `create` in this process; used while that is unchanged."""
_known_folders_lock = threading.Lock()


class PaperspaceProvider(Provider):
    """Versions at Paperspace. Arguments win over settings; None takes the setting.

    key, base: PAPERSPACE_API_KEY and PAPERSPACE_API_URL. timeout: seconds for a whole operation. allow_uncommitted:
    resolve uncommitted versions too, with grade D and a warning (setting MLFLOW_DSVER_PAPERSPACE_UNCOMMITTED=link).
    hash_files: hash a version's mount when it is resolved (setting MLFLOW_DSVER_PAPERSPACE_HASH=yes). paths: a
    dataset's id to a folder with any version of it, or `dataset@version` to the folder of exactly that version.
    roots: folders that contain mounts.
    """

    name = "paperspace"
    capabilities = frozenset(Capability) - {Capability.EVIDENCE, Capability.HOLD, Capability.TABLE}
    settings_files = KEY_FILES

    def __init__(
        self,
        *,
        key: str | Secret | None = None,
        base: str | None = None,
        timeout: float | None = None,
        allow_uncommitted: bool | None = None,
        hash_files: bool | None = None,
        paths: Mapping[str, Path] | None = None,
        roots: Roots | None = None,
    ) -> None:
        self.account = Account.from_settings(key=key, base=base, timeout=timeout)
        self._allow_uncommitted = info.ALLOW_UNCOMMITTED.get() if allow_uncommitted is None else allow_uncommitted
        self._hash_files = info.HASH_FILES.get() if hash_files is None else hash_files
        self._paths = dict(paths) if paths is not None else local_files.configured(info.PATHS.get())
        self._roots = roots or Roots()

    def __repr__(self) -> str:
        return f"PaperspaceProvider({self.account.base})"

    # Looking up

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The version of that id, committed or not. Raises NotFound when there is none."""
        ref = DatasetRef(self.name, dataset, version)
        with self._connected() as client:
            dataset, name = lookup.dataset_place(client, dataset)
            return models.to_version(dataset, lookup.version_of_id(client, dataset, version, ref), name)

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """All versions that the service lists, newest first, including uncommitted ones (immutable False).

        Each page has the whole time-out, because the caller's own work runs between pages.
        """
        with connect(self.account) as client:
            found, name = lookup.dataset_place(client, dataset)
            for version in lookup.listed(client, found, tag):
                yield models.to_version(found, version, name)

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """A version id, else a tag, else `latest`, which is the newest committed version.

        Raises NotFound with near names, and ProviderError for a version that is not committed, unless uncommitted
        ones are allowed; then `latest` means the newest of them where none is committed.
        """
        with self._connected() as client:
            dataset, name = lookup.dataset_place(client, ref.dataset)
            if ref.selector in (None, LATEST):
                found = lookup.newest(client, dataset, ref, uncommitted=self._allow_uncommitted)
            else:
                found = lookup.selected(client, dataset, ref)
            version = models.to_version(dataset, found, name or lookup.dataset_name(client, dataset))
        if not found.isCommitted:
            self._uncommitted(ref, version)
        return self._with_bytes(version) if self._hash_files else version

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The version that a reference names, committed or not; its files are not read."""
        if ref.selector in (None, LATEST):
            return self.resolve(ref)
        with self._connected() as client:
            dataset, name = lookup.dataset_place(client, ref.dataset)
            found = lookup.selected(client, dataset, ref)
            return models.to_version(dataset, found, name or lookup.dataset_name(client, dataset))

    def _uncommitted(self, ref: DatasetRef, version: DatasetVersion) -> None:
        if not self._allow_uncommitted:
            raise ProviderError(
                f"{version.ref} is not committed, so its files may still change"
                if version.immutable is False
                else f"the service does not say whether {version.ref} is committed",
                provider=self.name,
                operation="resolve",
                reference=ref,
                tip=f"mlflow-dsver paperspace commit {version.ref}, "
                f"or {info.ALLOW_UNCOMMITTED.variable}=link (grade D)",
            )
        log.warning("%s IS NOT COMMITTED: its files may still change; a link to it proves nothing", version.ref)

    def grade(self, version: DatasetVersion) -> Grade:
        """A where the bytes were hashed here, B for a committed version, D for any other."""
        if not version.immutable:
            return Grade("D", ("uncommitted", *version.grade_notes))
        letter: Letter = "A" if version.content_digest and not version.digest_is_claimed else "B"
        return Grade(letter, version.grade_notes)

    def datasets(self) -> Iterator[str]:
        """Ids of the team's datasets, sorted; `mlflow-dsver paperspace datasets` shows their names."""
        with self._connected() as client:
            yield from sorted({dataset.id for dataset in client.datasets()})

    # Changing

    def create(
        self,
        dataset: str,
        folder: Path | None = None,
        *,
        message: str | None = None,
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: bool = False,
        commit: bool = False,
    ) -> DatasetVersion:
        """Create a version without files: the console or a workflow adds them, and then it is committed.

        folder, with reference=True: its content digest is recorded in the metadata, so that a mount can be compared
        with it later, and `path` returns this folder in this process while its content is unchanged. Without
        reference=True a folder is refused, because the API accepts no files. commit: commit the version at once,
        after which no files can be added; an uncommitted version can be linked by passing it explicitly, with grade
        D. When the response is lost, the version is found by a token instead of being created again; when only the
        commit fails, the error names the version that was created.
        """
        if folder is not None and not reference:
            raise Unsupported(
                "the API takes no files",
                provider=self.name,
                operation="create a version",
                reference=DatasetRef(self.name, dataset),
                tip="reference=True (--reference) records the folder's digest; put the files in by the console",
            )
        manifest = None
        if folder is not None:
            manifest = hash_folder(Path(folder), cache=default_cache(), progress=self.progress)
        own = models.described(uuid.uuid4().hex, manifest)
        place, made_there = writing.create(
            self.account, dataset, message, tags, models.full_metadata(metadata, own), commit=commit
        )
        made = models.to_version(place[0], made_there, place[1])
        if folder is None or manifest is None:
            return made
        with _known_folders_lock:
            _created_from[str(made.ref)] = Path(folder).absolute()
        return replace(made, content_digest=manifest.digest, digest_is_claimed=False)  # hashed here, just now

    def update(
        self,
        version: DatasetVersion,
        *,
        message: str | None = None,
        add_tags: tuple[str, ...] = (),
        remove_tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> DatasetVersion:
        """Change message, tags and metadata; the response is compared with the requested values."""
        with self._connected() as client:
            current = lookup.version_of_id(client, version.ref.dataset, version.id, version.ref)
            changes = writing.Changes(message, add_tags, remove_tags, metadata)
            return models.to_version(
                version.ref.dataset, writing.update(client, version.ref, current, changes), version.dataset_name
            )

    def commit(self, version: DatasetVersion, *, committed: bool = True) -> DatasetVersion:
        """Commit a version, after which its files cannot change; or undo that, where the service allows it."""
        with self._connected() as client:
            return models.to_version(
                version.ref.dataset, writing.set_committed(client, version.ref, committed), version.dataset_name
            )

    def delete(self, version: DatasetVersion) -> None:
        """Delete a version."""
        with self._connected() as client:
            writing.delete(client, version.ref)

    # Bytes

    def identify(self, version: DatasetVersion, path: Path | None = None) -> DatasetVersion:
        """The version with the content digest of its bytes, hashed here, which makes its grade A.

        path: a folder with the files, remembered for this process; None takes the folder that `path` finds. Raises
        CorruptObject when the files are known to be different ones, Unsupported when there are none.
        """
        found = Found(Path(path)) if path is not None else self._found(version) or Found(self.path(version))
        identified = local_files.identified(version, found, local_files.hashed(found, self.progress))
        if path is not None:
            with _known_folders_lock:
                _known_folders[str(version.ref)] = Path(path).absolute()
        return identified

    def manifest(self, version: DatasetVersion) -> Manifest | None:
        """The manifest of a version whose bytes were hashed here and still exist; None otherwise."""
        if version.content_digest is None or version.digest_is_claimed:
            return None
        found = self._found(version)
        manifest = local_files.hashed(found, self.progress) if found else bucket.manifest(version)
        return manifest if manifest is not None and manifest.digest == version.content_digest else None

    def local_copy(self, version: DatasetVersion) -> LocalCopy | None:
        """The configured or mounted folder; None when there is none."""
        found = self._found(version)
        return LocalCopy(found.folder) if found else None

    def path(self, version: DatasetVersion) -> Path:
        """The configured or mounted folder, else a copy from the team's bucket; hashed and compared on each call.

        Raises CorruptObject for files that are known to be different ones, and Unsupported, with advice, when there
        are none.
        """
        found = self._found(version)
        if found is not None:
            local_files.check(version, found, local_files.hashed(found, self.progress))
            return found.folder
        fetched = bucket.path(version, self.progress)
        if fetched is None:
            raise self._nowhere(version)
        local_files.check(version, Found(fetched), local_files.hashed(Found(fetched), self.progress))
        return fetched

    def materialise(self, version: DatasetVersion, folder: Path) -> None:
        """Copy the version's files into a new or empty folder, comparing them during the copy."""
        found = self._found(version) or Found(self.path(version))
        copy_folder(
            found.folder, Path(folder), lambda manifest: local_files.check(version, found, manifest), self.progress
        )

    def _with_bytes(self, version: DatasetVersion) -> DatasetVersion:
        """The version identified by local files; with a note for its grade where they are those of another version.

        Unchanged where there are no files, or the copy of them is damaged; the reason is logged.
        """
        try:
            found = self._found(version) or Found(self.path(version))
            return local_files.identified_or_noted(version, found, local_files.hashed(found, self.progress))
        except (CorruptObject, Unsupported) as error:
            log.warning("%s", error)
            return version

    def _found(self, version: DatasetVersion) -> Found | None:
        with _known_folders_lock:
            remembered, source = _known_folders.get(str(version.ref)), _created_from.get(str(version.ref))
        for_version = remembered or self._paths.get(f"{version.ref.dataset}@{version.id}")
        if for_version is not None:
            return Found(for_version)
        if source is not None and local_files.is_unchanged(version, source, self.progress):
            return Found(source)
        for_dataset = self._paths.get(version.ref.dataset)
        if for_dataset is not None:
            return Found(for_dataset, local_files.Mount(for_dataset, None, info.PATHS.variable))
        mount = local_files.find(version.ref.dataset, None, self._roots) or self._mount_by_name(version)
        return Found(mount.folder, mount) if mount else None

    def _mount_by_name(self, version: DatasetVersion) -> local_files.Mount | None:
        """A mount that is named like the dataset; the name is requested only where any mount exists."""
        if not any(root.is_dir() for root in self._roots.mounted):
            return None
        name = version.dataset_name
        if name is None:
            with self._connected() as client:
                name = lookup.dataset_name(client, version.ref.dataset)
        if name is None:
            log.warning("the dataset's name cannot be looked up, so its mount may be missed")
        return local_files.find(version.ref.dataset, name, self._roots) if name else None

    def _nowhere(self, version: DatasetVersion) -> Unsupported:
        return Unsupported(
            "this version's files are not here, and the API does not give them out",
            provider=self.name,
            operation="get the files",
            reference=version.ref,
            expected="a mount below /datasets or /inputs, a folder that is named, or keys of the team's own bucket",
            tip=f"{info.PATHS.variable}={version.ref.dataset}=FOLDER, or {bucket.TIP}",
        )

    # The rest

    def health(self) -> Health:
        """Whether the key is accepted, and which team it belongs to."""
        origins = {
            **self.account.origins,
            **{each.variable: settings.origin(each.name) for each in info.INFO.settings},
        }
        try:
            with self._connected(min(self.account.timeout, 10.0)) as client:
                namespace = client.session().team.namespace
        except DsverError as error:
            return Health(False, str(error).replace("\n", " "), origins)
        return Health(True, f"{self.account.base} accepts the key of team {namespace}", origins)

    def _connected(self, seconds: float | None = None) -> AbstractContextManager[PaperspaceClient]:
        """A client whose requests together end within the time-out."""
        return connect(self.account, deadline=Deadline(seconds or self.account.timeout))
