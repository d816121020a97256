"""The Clarifai provider, `clarifai://user/app/dataset@version`: implements the provider interface.

A Clarifai version is a snapshot of a dataset, created on request from the dataset's current content, and immutable
once it is ready; so links to it have grade B. `latest` is the newest ready version that a person requested. Clarifai
reports no size in bytes: `usage_bytes` is None, and its own numbers are in `counts`. The files of a version are the
records of an export, without the media that they refer to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow_dsver import settings
from mlflow_dsver.content.hashing import copy_folder
from mlflow_dsver.deadlines import Deadline, bounded
from mlflow_dsver.errors import (
    CorruptObject,
    DsverError,
    NotFound,
    SettingsError,
    Unsupported,
)
from mlflow_dsver.model.manifests import Manifest
from mlflow_dsver.model.refs import LATEST, DatasetRef, nearest, tag_list
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.clarifai import convert, exports, info, writing
from mlflow_dsver.providers.clarifai.client import Client
from mlflow_dsver.providers.clarifai.convert import tags_of, with_tags, without_tags
from mlflow_dsver.providers.clarifai.info import CONFIG_FILE, Account, DatasetPlace, account
from mlflow_dsver.providers.clarifai.models import DatasetVersion as WireVersion
from mlflow_dsver.providers.clarifai.models import Export, Format, MetricsGroup, VersionStatus
from mlflow_dsver.providers.clarifai.polling import Course, bound, settled, wait
from mlflow_dsver.providers.interface import SUGGESTION_LIMIT, Capability, Health, LocalCopy, Provider
from mlflow_dsver.text import human_count

COURSE = Course(
    "the version",
    done=VersionStatus.READY,
    going_on=(VersionStatus.PENDING, VersionStatus.IN_PROGRESS),
    failed=(VersionStatus.FAILURE, VersionStatus.UNEXPECTED_ERROR, VersionStatus.CONFLICT),
)
FORMATS = {"json": Format.JSON, "protobuf": Format.PROTOBUF, "coco": Format.COCO}


class ClarifaiProvider(Provider):
    """Dataset versions at Clarifai.

    account: key, user, app and address; None reads the settings at each call. all_origins: whether versions that
    Clarifai's training and evaluation created are listed and may be `latest`; None takes the setting
    `MLFLOW_DSVER_CLARIFAI_ORIGINS` (`person`, the default, or `all`). export_format: format of the files that `path`
    returns: `json` (needs no extra library), `protobuf` or `coco`; None takes `MLFLOW_DSVER_CLARIFAI_FORMAT`, else
    JSON. wait_seconds: time-out for `create` or an export; None takes `MLFLOW_DSVER_CLARIFAI_WAIT` (600).
    """

    name = "clarifai"
    capabilities = frozenset(Capability) - {Capability.EVIDENCE, Capability.HOLD, Capability.TABLE}
    settings_files = (CONFIG_FILE,)

    def __init__(
        self,
        account: Account | None = None,
        *,
        all_origins: bool | None = None,
        export_format: str | None = None,
        wait_seconds: float | None = None,
    ) -> None:
        self._account = account
        self._all_origins = all_origins
        self._format = export_format
        self._wait_seconds = wait_seconds

    def get(self, dataset: str, version: str) -> DatasetVersion:
        """The version of that id, in any state and of any origin."""
        signed, place = self._place(dataset)
        with self._client(signed, place, DatasetRef(self.name, dataset, version)) as client:
            return convert.version(signed, place, client.get_dataset_version(place.dataset, version))

    def versions(self, dataset: str, *, tag: str | None = None) -> Iterator[DatasetVersion]:
        """All versions, newest first, including those that are not ready yet.

        Only versions that a person requested, unless all_origins is set; with a tag, versions of every origin.
        """
        signed, place = self._place(dataset)
        with self._client(signed, place, DatasetRef(self.name, dataset)) as client:
            for found in convert.newest_first(client.dataset_versions(place.dataset)):
                if tag in tags_of(found.metadata) if tag is not None else self._listed(found):
                    yield convert.version(signed, place, found)

    def resolve(self, ref: DatasetRef) -> DatasetVersion:
        """A version id, else a tag, else `latest`; waits for a version that is still being created.

        Ends within `MLFLOW_DSVER_PROVIDER_TIMEOUT`. Raises ProviderError for a version that failed, and
        ProviderUnavailable for one that does not become ready in that time.
        """
        deadline = bounded(settings.provider_timeout())
        signed, place, found = self._lookup(ref, deadline)
        return self._ready(signed, place, found, deadline)

    def find(self, ref: DatasetRef) -> DatasetVersion:
        """The version that a reference names, including one that is not ready or failed; does not wait."""
        signed, place, found = self._lookup(ref, bounded(settings.provider_timeout()))
        return convert.version(signed, place, found)

    def _lookup(self, ref: DatasetRef, deadline: Deadline) -> tuple[Account, DatasetPlace, WireVersion]:
        signed, place = self._place(ref.dataset)
        with self._client(signed, place, ref, deadline) as client:
            if ref.selector in (None, LATEST):
                return signed, place, self._latest(client, place, ref)
            return signed, place, self._by_id_or_tag(client, place, ref)

    def datasets(self) -> Iterator[str]:
        """`user/app/dataset` of every dataset of the app in the settings, sorted."""
        signed, place = self._place("datasets")
        names = []
        with self._client(signed, place, None) as client:
            for found in client.datasets():
                user, app = found.user_id or place.user, found.app_id or place.app
                names.append("/".join(part for part in (user, app, found.id) if part))
        return iter(sorted(names))

    def create(
        self,
        dataset: str,
        folder: Path | None = None,
        *,
        message: str | None = None,
        tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
        reference: bool = False,
        annotation_filter: str | None = None,
        ignore_empty_inputs: bool = False,
        version_id: str | None = None,
        visibility: str | None = None,
    ) -> DatasetVersion:
        """Create a version of the dataset's current content, and wait until it is ready.

        annotation_filter: id of the filter that selects annotations; None takes the dataset's own.
        ignore_empty_inputs: leave out inputs without annotations. version_id: the id of the new version; None takes a
        random one. visibility: `private`, `org` or `public`; None takes Clarifai's default. Raises Unsupported when a
        folder is given: versions are created from inputs that Clarifai has; InvalidArgument for values that cannot be
        sent; ProviderError when a version of that id exists. When the response is lost, the version is looked up by
        its id, and not created again.
        """
        if folder is not None or reference:
            raise Unsupported(
                "Clarifai makes versions of the inputs that a dataset has there, and not of a folder",
                provider=self.name,
                operation="create a version",
                reference=DatasetRef(self.name, dataset),
                tip="without a folder, after the inputs were uploaded with Clarifai's own tools",
            )
        chosen = tag_list(tags)
        wanted = writing.Wanted(
            message, chosen, metadata or {}, annotation_filter, ignore_empty_inputs, version_id, visibility
        )
        body = wanted.body()
        signed, place = self._place(dataset)
        with self._client(signed, place, DatasetRef(self.name, dataset)) as client:
            made = writing.post(client, place, body, own_id=version_id is not None)
        version = self._ready(signed, place, made)
        if chosen:
            self._take_from_others(signed, place, version.id, set(chosen))
        return version

    def update(
        self,
        version: DatasetVersion,
        *,
        message: str | None = None,
        add_tags: tuple[str, ...] = (),
        remove_tags: tuple[str, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> DatasetVersion:
        """Change message, tags and metadata; a moved tag is first added to this version, then removed from others.

        Unchanged values are sent again, since an overwrite may clear fields that it does not receive.
        """
        signed, place = self._place(version.ref.dataset)
        added, removed = set(tag_list(add_tags)), set(tag_list(remove_tags))
        with self._client(signed, place, version.ref) as client:
            found = client.get_dataset_version(place.dataset, version.id)
            tags = set(tags_of(found.metadata)) - removed | added
            existing = without_tags(found.metadata) if metadata is None else writing.json_object(metadata)
            changed = writing.overwrite(client, place, found, message, with_tags(existing, tags))
        if added:
            self._take_from_others(signed, place, version.id, added)
        return convert.version(signed, place, changed)

    def delete(self, version: DatasetVersion) -> None:
        """Delete a version. Raises NotFound when it does not exist, ProviderError when it is in use."""
        signed, place = self._place(version.ref.dataset)
        with self._client(signed, place, version.ref) as client:
            client.get_dataset_version(place.dataset, version.id)  # deleting an unknown id may succeed
            client.delete_dataset_versions(place.dataset, [version.id])

    def manifest(self, version: DatasetVersion) -> Manifest | None:
        """The manifest of the version's export, if it was downloaded to this machine; None before, as it is unknown.

        It lists the files of the export, which are records; media are not among them.
        """
        cached = exports.present(version.ref, self._export_format())
        return None if cached is None else cached.manifest

    def local_copy(self, version: DatasetVersion) -> LocalCopy | None:
        """The folder of the version's export, if it was downloaded to this machine; unchecked."""
        cached = exports.present(version.ref, self._export_format())
        return None if cached is None else LocalCopy(cached.folder, manifest=exports.manifest_file(cached.folder))

    def path(self, version: DatasetVersion) -> Path:
        """A folder with the version's export, checked; exported and downloaded when it is not on this machine."""
        return self._files(version).folder

    def materialise(self, version: DatasetVersion, folder: Path) -> None:
        """Copy the version's export into a new or empty folder, checking each file during the copy."""
        cached = self._files(version)

        def check(copied: Manifest) -> None:
            if copied.digest != cached.manifest.digest:
                raise CorruptObject(
                    f"the export in {cached.folder} has changed",
                    reference=version.ref,
                    expected=cached.manifest.digest,
                    got=copied.digest,
                    done="Nothing was served",
                )

        copy_folder(cached.folder, folder, check, self.progress)

    def export(self, version: DatasetVersion, format_: Format) -> Export:
        """Export the version, and wait for it: the result has its size in bytes and its address, which expires."""
        return exports.ready_export(self._wanted(version, format_))

    def metrics(self, version: DatasetVersion) -> Iterator[MetricsGroup]:
        """Counts by part of the version; empty while Clarifai is still computing them."""
        signed, place = self._place(version.ref.dataset)
        with self._client(signed, place, version.ref) as client:
            yield from client.dataset_version_metrics_groups(place.dataset, version.id)

    def health(self) -> Health:
        """Whether the key is accepted: lists the datasets of the settings' app."""
        sources: Mapping[str, str] = {}
        try:
            signed = self._signed()
            sources = signed.sources
            count = human_count(len(list(self.datasets())), "dataset")
            return Health(True, f"{signed.base} ({count})", sources)
        except DsverError as error:
            return Health(False, str(error), sources)

    def _signed(self) -> Account:
        return self._account if self._account is not None else account()

    def _place(self, dataset: str) -> tuple[Account, DatasetPlace]:
        signed = self._signed()
        return signed, signed.place(dataset)

    def _client(
        self, signed: Account, place: DatasetPlace, ref: DatasetRef | None, deadline: Deadline | None = None
    ) -> Client:
        return Client(signed, place.user, place.app, reference=ref, deadline=deadline)

    def _listed(self, found: WireVersion) -> bool:
        if self._all_origins is not None:
            return self._all_origins or convert.by_a_person(found)
        return info.ALL_ORIGINS.get() or convert.by_a_person(found)

    def _export_format(self) -> Format:
        value = self._format if self._format is not None else info.FORMAT.get()
        if value not in FORMATS:
            raise SettingsError(info.FORMAT.variable, expected=info.FORMAT.expected, got=ascii(value)[:40])
        return FORMATS[value]

    def _files(self, version: DatasetVersion) -> exports.FetchedExport:
        return exports.files(self._wanted(version, self._export_format()))

    def _wanted(self, version: DatasetVersion, format_: Format) -> exports.ExportRequest:
        signed, place = self._place(version.ref.dataset)
        return exports.ExportRequest(signed, place, version.ref, format_, self._wait_seconds, self.progress)

    def _latest(self, client: Client, place: DatasetPlace, ref: DatasetRef) -> WireVersion:
        def look() -> WireVersion | None:
            listing = client.dataset_versions(place.dataset)
            usable = (found for found in listing if convert.is_ready(found) and self._listed(found))
            return max(usable, key=convert.age, default=None)

        newest = settled(look)
        if newest is None:
            raise self._not_found(
                ref,
                "the dataset has no version that is ready and that a person asked for",
                tip="make one, or name one that training made by its id",
            )
        return newest

    def _by_id_or_tag(self, client: Client, place: DatasetPlace, ref: DatasetRef) -> WireVersion:
        selector = ref.selector or ""
        with suppress(NotFound):
            return client.get_dataset_version(place.dataset, selector)

        def look() -> tuple[WireVersion | None, list[str]]:
            best: WireVersion | None = None
            known: list[str] = []
            for found in client.dataset_versions(place.dataset):
                tags = tags_of(found.metadata)
                if selector in tags and (best is None or _preference(found) > _preference(best)):
                    best = found
                if len(known) < SUGGESTION_LIMIT:
                    known += [found.id, *tags]
            return best, known

        best, known = settled(look)
        if best is not None:
            return best
        near = ", ".join(str(ref.at(name)) for name in nearest(selector, known)) or None
        raise self._not_found(ref, "no version of that id and no such tag", tip=near)

    def _ready(
        self, signed: Account, place: DatasetPlace, found: WireVersion, deadline: Deadline | None = None
    ) -> DatasetVersion:
        """The version once it is ready; see `waiting.wait` for what is raised when it does not become so.

        deadline: of the whole operation; None waits as long as a version may take to be made.
        """
        ref = convert.version(signed, place, found).ref

        def ask() -> WireVersion:
            with self._client(signed, place, ref, deadline) as client:
                return client.get_dataset_version(place.dataset, found.id)

        ready = wait(
            COURSE,
            found,
            ask,
            lambda version: version.status,
            deadline=deadline or bound(self._wait_seconds),
            setting=info.WAIT.name if deadline is None else "PROVIDER_TIMEOUT",
            reference=ref,
            progress=self.progress,
        )
        return convert.version(signed, place, ready)

    def _take_from_others(self, signed: Account, place: DatasetPlace, holder: str, tags: set[str]) -> None:
        with self._client(signed, place, DatasetRef(self.name, str(place))) as client:
            writing.take_tags_from_others(client, place, holder, tags)


def _preference(found: WireVersion) -> tuple[bool, Any]:
    """Sort key for versions with the same tag (possible while a tag moves): ready wins, then the newer one."""
    return convert.is_ready(found), convert.age(found)
