"""Where snapshots are kept: manifests by their content digest, and one file for each operation on a dataset.

    <root>/<provider>/<hash of the dataset's name>/manifests/<64 hex digits>.jsonl.gz
    <root>/<provider>/<hash of the dataset's name>/events/<milliseconds>-<random>.json

The root is a folder below the home of the local store by default; beside the data, a folder that a team shares, or an
address in object storage by the setting SNAPSHOTS. No file is ever changed or replaced, so two writers lose nothing,
and any store that can write, read and list will do. The state of a dataset results from its operations in the order
of their names; of two that contradict each other, the later one holds. A manifest is written before the operation
that names it, and is checked against its digest whenever it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Protocol

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import atomic_write, make_folder
from mlflow_dsver.errors import CorruptObject, InvalidArgument, StoreError
from mlflow_dsver.model.manifests import DIGEST_PREFIX, InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.providers.buckets.connect import Location, address, object_store, storage_errors
from mlflow_dsver.providers.buckets.info import SNAPSHOTS
from mlflow_dsver.providers.dataset_history import Operation, State, apply
from mlflow_dsver.providers.operation_schema import read_operation

MAX_EVENT = 256 * 1024
"""Maximum bytes of one operation."""
MAX_EVENTS = 100_000
"""Maximum operations of a dataset."""
MAX_MANIFEST = 1 << 31
"""Maximum bytes of a compressed manifest."""
KEPT_EVENTS = 10_000
"""Maximum operations whose files a process keeps in memory."""
AT_ONCE = 32
OWN_FOLDER = ".dsver"
"""Folder below a prefix in which its snapshots can be kept."""
OWN_FILES = re.compile(rf"(?:\A|/){re.escape(OWN_FOLDER)}/(?:s3|gs|az)/[0-9a-f]{{32}}/(?:events|manifests)/[^/]+\Z")
"""Keys of what is kept there, of this prefix and of those below it; not part of any snapshot."""

_events: dict[tuple[str, str], bytes] = {}
_EVENT = re.compile(r"[0-9]{15}-[0-9a-f]{16}\.json\Z")


class Files(Protocol):
    """Where a catalog's files are: names with `/` to bytes. address: tells it from other places."""

    address: str

    def read(self, name: str, most: int) -> bytes | None:
        """The content of a file; None when there is none. Raises CorruptObject for more than `most` bytes."""

    def write(self, name: str, content: bytes) -> None:
        """Write a new file, durably."""

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in a folder; of the folders in it where it has only folders."""


class Catalog:
    """The snapshots of one dataset. dataset: bucket and prefix, as in references."""

    def __init__(self, provider: str, dataset: str, files: Files) -> None:
        self.provider, self.dataset, self.files = provider, dataset, files
        self._folder = f"{provider}/{hashlib.sha256(dataset.encode()).hexdigest()[:32]}"

    def state(self) -> State | None:
        """The versions and tags that there are; None when the dataset has never had a snapshot."""
        names = self._names()
        return self._state_of(names) if names else None

    def append(self, decide: Callable[[State], Operation | None]) -> State:
        """Keep the operation that `decide` returns for the present state, durably; None keeps nothing."""
        names = self._names()
        state = self._state_of(names)
        operation = decide(state)
        if operation is None:
            return state
        content = json.dumps({"dataset": self.dataset, **operation}, allow_nan=False).encode()
        if len(content) > MAX_EVENT:
            raise InvalidArgument("message, metadata and tags are too long", expected=f"at most {MAX_EVENT} bytes")
        name = f"{self._folder}/events/{event_name(names[-1] if names else '')}"
        self.files.write(name, content)
        apply(state, operation)
        return state

    def keep(self, manifest: Manifest) -> bytes:
        """Write a manifest, unless one with its digest is there; returns that file's bytes."""
        name = self._manifest_name(manifest.digest)
        content = self.files.read(name, MAX_MANIFEST)
        with suppress(InvalidManifest):
            if content is not None and read_manifest(BytesIO(content)).digest == manifest.digest:
                return content
        content = manifest.to_bytes()
        self.files.write(name, content)
        return content

    def manifest(self, digest: str) -> Manifest:
        """The manifest of a content digest. Raises CorruptObject when it is missing, damaged or another one."""
        content = self.files.read(self._manifest_name(digest), MAX_MANIFEST)
        got = "none"
        if content is not None:
            try:
                manifest = read_manifest(BytesIO(content))
            except InvalidManifest as error:
                got = str(error)
            else:
                if manifest.digest == digest:
                    return manifest
                got = manifest.digest
        raise CorruptObject(
            "the manifest of this snapshot is missing or damaged",
            reference=f"{self.provider}://{self.dataset}",
            expected=digest,
            got=got,
            done="Nothing was served",
            tip="a run that used the snapshot has a copy of it",
        )

    def _manifest_name(self, digest: str) -> str:
        return f"{self._folder}/manifests/{digest.removeprefix(DIGEST_PREFIX)}.jsonl.gz"

    def _names(self) -> list[str]:
        names = sorted(filter(_EVENT.match, self.files.names(f"{self._folder}/events")))
        if len(names) > MAX_EVENTS:
            raise CorruptObject(f"more than {MAX_EVENTS:,} operations", reference=f"{self.provider}://{self.dataset}")
        return names

    def _state_of(self, names: list[str]) -> State:
        if not names:
            return State(self.dataset)
        with ThreadPoolExecutor(min(AT_ONCE, len(names)), "mlflow-dsver-catalog") as pool:
            try:
                return fold(self.dataset, filter(None, pool.map(self._event, names)))
            except CorruptObject:
                _events.clear()  # the file may be mended while this process goes on
                raise

    def _event(self, name: str) -> bytes | None:
        """The content of an operation's file. It never changes, so a process reads it once."""
        key = (self.files.address, f"{self._folder}/events/{name}")
        content = _events.get(key) or self.files.read(key[1], MAX_EVENT)
        if content is not None:
            while len(_events) >= KEPT_EVENTS:
                _events.pop(next(iter(_events), key), None)
            _events[key] = content
        return content


def fold(dataset: str, contents: Iterable[bytes]) -> State:
    """The state that operations result in. Operations on versions that were deleted meanwhile change nothing,
    nor does the deletion of one that is held.

    Raises CorruptObject for one that this version does not understand, or that is of another dataset.
    """
    state = State(dataset)
    for content in contents:
        try:
            operation = read_operation(content)
            if operation["dataset"] != dataset:
                raise ValueError(f"it is of {operation['dataset']!r}")
        except ValueError as error:
            raise CorruptObject(
                f"an operation on the snapshots of {dataset!r} is damaged, or of a newer version: {error}",
                done="Nothing was served or changed",
                tip="a newer mlflow-dsver, or the files from a backup",
            ) from error
        if operation["op"] == "delete" and operation["version"] in state.holds:
            continue  # whoever deleted it did not know yet that it is held
        with suppress(KeyError):
            apply(state, operation)
    return state


def event_name(last: str) -> str:
    """A name that comes after the last one, whatever this machine's clock says."""
    now = time.time_ns() // 1_000_000
    with suppress(ValueError):
        now = max(now, int(last[:15]) + 1)
    return f"{now:015d}-{secrets.token_hex(8)}.json"


def catalog(location: Location) -> Catalog:
    """The catalog of a prefix, where the setting SNAPSHOTS says. Raises SettingsError for a value that is none."""
    return Catalog(location.provider, location.dataset, _files(location))


def datasets(provider: str) -> Iterator[str]:
    """Names of the datasets of a provider that have ever had a snapshot, sorted; none where kept beside the data."""
    if SNAPSHOTS.get() == "beside":
        return iter(())
    files = _files(None)
    found = []
    for folder in files.names(provider):
        names = sorted(filter(_EVENT.match, files.names(f"{provider}/{folder}/events")))
        content = files.read(f"{provider}/{folder}/events/{names[0]}", MAX_EVENT) if names else None
        if content is not None:
            with suppress(ValueError):
                found.append(str(read_operation(content)["dataset"]))
    return iter(sorted(found))


def datasets_around(location: Location) -> set[str]:
    """Names of datasets whose objects may be those of a prefix too: itself, prefixes above it, and below it.

    Where snapshots are kept beside the data, those below are found by listing the prefix.
    """
    if SNAPSHOTS.get() != "beside":
        near = {location.dataset}
        for name in datasets(location.provider):
            if f"{name}/".startswith(f"{location.dataset}/") or f"{location.dataset}/".startswith(f"{name}/"):
                near.add(name)
        return near
    parts = location.dataset.split("/")
    return {"/".join(parts[:length]) for length in range(1, len(parts) + 1)} | set(_catalogs_below(location))


def _catalogs_below(location: Location) -> Iterator[str]:
    import obstore

    with storage_errors(location, "look for snapshots of other prefixes"):
        for page in obstore.list(object_store(location), location.key("")):
            for each in page:
                found = OWN_FILES.search(each["path"])
                if found:
                    yield f"{location.bucket}/{each['path'][: found.start()]}".rstrip("/")


def _files(location: Location | None) -> Files:
    where = SNAPSHOTS.get()
    if where is None:
        return FolderFiles(settings.home() / "snapshots")
    if where == "beside":
        assert location is not None
        return ObjectFiles(location._replace(prefix=location.key(OWN_FOLDER)))
    if "://" in where:
        return ObjectFiles(address(where, SNAPSHOTS.variable))
    return FolderFiles(settings.expanded(where, SNAPSHOTS.variable).absolute())


class FolderFiles:
    """Files of a catalog in a folder of this machine, or of a shared file system."""

    def __init__(self, root: Path) -> None:
        self.root, self.address = root, str(root)

    def read(self, name: str, most: int) -> bytes | None:
        """As `Files.read`."""
        try:
            with (self.root / name).open("rb") as stream:
                content = stream.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{self.root / name} cannot be read: {error.strerror}") from error
        if len(content) > most:
            raise CorruptObject(f"{name} has more than {most:,} bytes", done="Nothing was served")
        return content

    def write(self, name: str, content: bytes) -> None:
        """As `Files.write`."""
        path = self.root / name
        try:
            make_folder(path.parent)
            with atomic_write(path) as stream:
                stream.write(content)
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from error

    def names(self, folder: str) -> list[str]:
        """As `Files.names`."""
        try:
            return [path.name for path in (self.root / folder).iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"{self.root / folder} cannot be read: {error.strerror}") from error


class ObjectFiles:
    """Files of a catalog in object storage."""

    def __init__(self, location: Location) -> None:
        self.location, self.address = location, location.uri

    def read(self, name: str, most: int) -> bytes | None:
        """As `Files.read`."""
        import obstore

        key = self.location.key(name)
        try:
            with storage_errors(self.location, "read a snapshot", key):
                found = obstore.get(object_store(self.location), key)
                if found.meta["size"] > most:
                    raise CorruptObject(f"{name} has more than {most:,} bytes", reference=self.location.uri)
                return bytes(found.bytes())
        except LookupError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """As `Files.write`."""
        import obstore

        key = self.location.key(name)
        with storage_errors(self.location, "keep a snapshot", key):
            obstore.put(object_store(self.location), key, content)

    def names(self, folder: str) -> list[str]:
        """As `Files.names`."""
        import obstore

        prefix = self.location.key(folder) + "/"
        with storage_errors(self.location, "list the snapshots"):
            found = obstore.list_with_delimiter(object_store(self.location), prefix)
        objects = [each["path"] for each in found["objects"]]
        paths = [*objects, *(each.rstrip("/") for each in found["common_prefixes"])]
        return [path[len(prefix) :] for path in paths if path.startswith(prefix)]
