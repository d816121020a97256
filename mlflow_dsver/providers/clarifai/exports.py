"""The records of a version as files: exported by Clarifai, downloaded, unpacked and stored on this machine.

An export has the records of the inputs (ids, annotations, addresses of media) as protobuf, JSON or COCO, and no
media. For each content that a version's export had on this machine, the manifest and the digest of the archive are
stored: an export with other bytes is stored beside the previous one and reported, and never treated as the same data.
The unpacked folder may be deleted; the manifests remain.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from mlflow_dsver import settings
from mlflow_dsver.content.archives import InvalidArchive, unpack
from mlflow_dsver.content.atomic_files import atomic_write, make_folder, sync_folder
from mlflow_dsver.content.hashing import hash_file, hash_folder
from mlflow_dsver.content.patterns import IGNORE_FILE
from mlflow_dsver.content.progress import SILENT, Progress
from mlflow_dsver.deadlines import Deadline, DeadlineExceeded
from mlflow_dsver.errors import (
    ContentError,
    CorruptObject,
    DsverError,
    ProviderUnavailable,
    StoreError,
    UnexpectedResponse,
    Unsupported,
)
from mlflow_dsver.model.json_values import date_text
from mlflow_dsver.model.manifests import DIGEST_PREFIX, InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import now
from mlflow_dsver.providers.clarifai.client import API_PROFILE, Client
from mlflow_dsver.providers.clarifai.info import Account, DatasetPlace
from mlflow_dsver.providers.clarifai.models import Export, ExportStatus, Format
from mlflow_dsver.providers.clarifai.polling import Course, bound, visible, wait
from mlflow_dsver.providers.http import wire
from mlflow_dsver.providers.http.downloads import Signing, download
from mlflow_dsver.providers.http.wire import is_loopback
from mlflow_dsver.secrets import Secret

log = logging.getLogger(__name__)

MAX_ARCHIVE = 8 << 30
"""Maximum bytes of an archive: records without media are far smaller."""
MANIFEST = ".manifest.gz"
GOING_ON = (ExportStatus.PENDING, ExportStatus.IN_PROGRESS)
FAILED = (ExportStatus.FAILED, ExportStatus.UNEXPECTED_ERROR)
STALE = 86_400.0
"""Seconds after which leftovers of a killed download are removed."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """The requested export, and the account and limits of its download.

    ref: of the version. seconds: time-out for the export, and again for its download; None takes the setting.
    """

    account: Account
    place: DatasetPlace
    ref: DatasetRef
    format: Format
    seconds: float | None = None
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True)
class FetchedExport:
    """One content of the export. folder: of its files, which may have been deleted; manifest: of these files."""

    folder: Path
    manifest: Manifest

    @property
    def date(self) -> str:
        """The time of the download, ISO 8601."""
        return str(self.manifest.made.get("taken", ""))


def folder_of(ref: DatasetRef) -> Path:
    """The folder of a version's exports, named by a hash, since an id may have any characters."""
    return settings.home() / "clarifai" / hashlib.sha256(str(ref).encode()).hexdigest()[:32]


def fetched_exports(ref: DatasetRef, format_: Format) -> list[FetchedExport]:
    """Each content of the version's export here, oldest first. Raises StoreError for a damaged manifest."""
    found = []
    for path in folder_of(ref).glob(f"{format_.value}-*{MANIFEST}"):
        try:
            with path.open("rb") as stream:
                manifest = read_manifest(stream)
        except (InvalidManifest, OSError) as error:
            raise StoreError(
                f"what is remembered of an export cannot be read: {error}", reference=ref, got=path, tip="remove it"
            ) from error
        found.append(FetchedExport(path.with_name(path.name.removesuffix(MANIFEST)), manifest))
    return sorted(found, key=lambda each: (each.date, each.manifest.digest))


def manifest_file(folder: Path) -> Path:
    """The path of the manifest of an unpacked export."""
    return folder.with_name(folder.name + MANIFEST)


def present(ref: DatasetRef, format_: Format) -> FetchedExport | None:
    """The content on this machine, unchecked; the most recent one if there are several."""
    return next((each for each in reversed(fetched_exports(ref, format_)) if each.folder.is_dir()), None)


def files(version: ExportRequest) -> FetchedExport:
    """The version's export on this machine, checked; exported and downloaded first if it is missing.

    Raises CorruptObject when the kept files changed, UnexpectedResponse for an archive that is refused, and the
    errors of the service. Warns when the content differs from that of an earlier download.
    """
    ref = version.ref
    former = fetched_exports(ref, version.format)
    cached = next((each for each in reversed(former) if each.folder.is_dir()), None)
    if cached is None:
        return _fetch(version, former)
    _check(cached, ref)
    if len(former) > 1:
        log.warning("%s: its export has had %d contents; this is the one of %s", ref, len(former), cached.date)
    return cached


def _check(cached: FetchedExport, ref: DatasetRef) -> None:
    got: object
    try:
        got = _hashed(cached.folder).digest
    except ContentError as error:
        got = error
    if got != cached.manifest.digest:
        raise CorruptObject(
            "the files kept of its export are not those that were taken",
            reference=ref,
            expected=cached.manifest.digest,
            got=got,
            done="Nothing was served",
            tip=f"remove the folder {cached.folder} to have it exported again",
        )


def _hashed(folder: Path) -> Manifest:
    if os.path.lexists(folder / IGNORE_FILE):
        raise ContentError(f"a file {IGNORE_FILE}, which no export has, would hide others", paths=(IGNORE_FILE,))
    return hash_folder(folder)


def _fetch(version: ExportRequest, former: list[FetchedExport]) -> FetchedExport:
    export = ready_export(version)
    ref, home, deadline = version.ref, folder_of(version.ref), bound(version.seconds)
    with _scratch(home, ref) as scratch:
        archive = scratch / "archive.zip"
        _download(version, export, archive, deadline)
        facts = {
            "how": "unpacked from an export by Clarifai",
            "format": version.format.value,
            "archive_digest": DIGEST_PREFIX + hash_file(archive).digest,
            "archive_bytes": archive.stat().st_size,
            "taken": date_text(now()),
        }
        try:
            unpack(archive, scratch / "files", deadline=deadline)
            manifest = Manifest(_hashed(scratch / "files").entries, made=facts)
        except (InvalidArchive, ContentError) as error:
            raise UnexpectedResponse(
                "the archive of the export is refused", got=error, done="Nothing of it was kept", **_parts(ref)
            ) from error
        except DeadlineExceeded as error:
            raise ProviderUnavailable(str(error), **_parts(ref)) from error
        return _keep(version, scratch / "files", manifest, former)


def _keep(version: ExportRequest, unpacked: Path, manifest: Manifest, former: list[FetchedExport]) -> FetchedExport:
    """Move unpacked files to their folder, store their manifest, and warn if the content is new."""
    ref, home = version.ref, folder_of(version.ref)
    name = f"{version.format.value}-{manifest.digest.removeprefix(DIGEST_PREFIX)[:32]}"
    same = next((each for each in former if each.manifest.digest == manifest.digest), None)
    if same is None:
        with atomic_write(manifest_file(home / name)) as stream:
            manifest.write(stream)
        for each in former:
            log.warning(
                "%s: this export is not the same data as that of %s: %s then, %s now",
                ref,
                each.date,
                each.manifest.digest,
                manifest.digest,
            )
    elif same.manifest.made.get("archive_digest") != manifest.made["archive_digest"]:
        log.info("%s: another archive than that of %s, with the same content", ref, same.date)
    try:
        unpacked.rename(home / name)
    except OSError:
        if not (home / name).is_dir():  # unless another process was faster with the same content
            raise
    sync_folder(home)
    return FetchedExport(home / name, same.manifest if same else manifest)


def ready_export(wanted: ExportRequest) -> Export:
    """The version's export, created if needed. Its address expires and is never stored."""
    ref, place, format_ = wanted.ref, wanted.place, wanted.format
    version = ref.selector or ""
    with Client(wanted.account, place.user, place.app, reference=ref) as client:

        def ask() -> Export:
            current = client.get_dataset_version(place.dataset, version).export(format_)
            return current or Export.read({"status": {"code": ExportStatus.PENDING.value}})

        export = wait(
            Course(f"the {format_.value} export", ExportStatus.SUCCESS, GOING_ON, FAILED),
            client.put_dataset_version_exports(place.dataset, version, [format_])[0],
            ask,
            lambda export: export.status,
            deadline=bound(wanted.seconds),
            reference=ref,
            progress=wanted.progress,
        )
    if export.format not in (None, format_.number):
        raise UnexpectedResponse("an export of another format", expected=format_, got=export.format, **_parts(ref))
    if not export.url:
        raise UnexpectedResponse("an export without an address", payload=dict(export.raw), **_parts(ref))
    return export


def _download(version: ExportRequest, export: Export, archive: Path, deadline: Deadline) -> None:
    account, parts = version.account, _parts(version.ref)
    label = f"downloading the export of {version.ref}"
    with visible(version.progress, label) as progress, atomic_write(archive) as stream:
        progress.total(1, export.size)
        media_type = download(
            export.url or "",
            _Counted(stream, progress),  # type: ignore[arg-type]
            max_bytes=MAX_ARCHIVE,
            deadline=deadline,
            signing=signing(account),
            local=is_loopback(urlsplit(account.base).hostname or ""),
            **parts,
        )
    if media_type == "application/json":
        raise UnexpectedResponse("an error was received instead of the archive of the export", **parts)


def signing(account: Account) -> Signing:
    """The hosts to which the key is sent: that of the API, and its data host, `data.` where the API is `api.`.

    Only to the first address: the key is not sent after a redirect. Other hosts are storage with presigned addresses,
    which reject an `Authorization` header.
    """
    host_of_api = urlsplit(account.base).netloc.lower()
    domain = host_of_api.removeprefix("api.")
    hosts = {host_of_api, f"data.{domain if '.' in domain else host_of_api}"}
    asked = count()

    def sign(host: str) -> tuple[str, Secret] | None:
        first = next(asked) == 0
        return (API_PROFILE.scheme, account.key) if first and host.lower() in hosts else None

    return sign


class _Counted:
    """A stream that reports the written bytes as progress."""

    def __init__(self, stream: IO[bytes], progress: Progress) -> None:
        self._stream, self._progress = stream, progress

    def write(self, data: bytes) -> int:
        self._progress.advance(0, len(data))
        return self._stream.write(data)


@contextmanager
def _scratch(home: Path, ref: DatasetRef) -> Iterator[Path]:
    """A folder that is removed at the end; those of killed processes are removed after a day."""
    scratch = home / f".taking-{secrets.token_hex(6)}"
    try:
        make_folder(home)
        for old in home.glob(".taking-*"):
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > STALE:
                    shutil.rmtree(old, ignore_errors=True)
        scratch.mkdir()
        yield scratch
    except OSError as error:
        if isinstance(error, DsverError):
            raise
        raise StoreError(f"the export cannot be kept in {home}: {error}", reference=ref) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _parts(ref: DatasetRef) -> dict[str, Any]:
    return {"provider": API_PROFILE.provider, "operation": "load the data", "reference": ref}


# Records of inputs in an export: one mapping for each input, from JSON or protobuf


MIMETYPE = "mimetype"
JSON_TYPE = "application/x.clarifai-data+json"
PROTOBUF_TYPE = "application/x.clarifai-data+protobuf"
MAX_BATCH = 512 << 20
"""Maximum bytes of one file of an export: it is read into memory."""


def inputs(folder: str | os.PathLike[str]) -> Iterator[Mapping[str, Any]]:
    """Every input of an unpacked export, in the order of the batches' names, with the field names of the API.

    Raises Unsupported for COCO and for protobuf without the library that reads it, UnexpectedResponse for a file that
    is not in the export's format.
    """
    root = Path(folder)
    kind = _kind(root)
    decode = {JSON_TYPE: _from_json, PROTOBUF_TYPE: _from_protobuf}.get(kind)
    if decode is None:
        raise Unsupported(
            "this export has no batches of inputs",
            provider="clarifai",
            operation="read the records",
            expected=f"{JSON_TYPE} or {PROTOBUF_TYPE}",
            got=kind,
            tip="MLFLOW_DSVER_CLARIFAI_FORMAT=json",
        )
    for path in sorted(root.rglob("*")):
        if path.is_file() and path != root / MIMETYPE:
            yield from _batch(path, path.relative_to(root).as_posix(), decode)


def _kind(root: Path) -> str:
    try:
        with (root / MIMETYPE).open("rb") as stream:
            return stream.read(200).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return f"no file {MIMETYPE}"


def _batch(path: Path, name: str, decode: Callable[[bytes], list[Any]]) -> list[Any]:
    with path.open("rb") as stream:
        content = stream.read(MAX_BATCH + 1)
    try:
        if len(content) > MAX_BATCH:
            raise ValueError(f"more than {MAX_BATCH} bytes")
        return decode(content)
    except ValueError as error:
        raise UnexpectedResponse(
            f"{name} is not a batch of inputs: {error}", provider="clarifai", operation="read the records"
        ) from error


def _from_json(content: bytes) -> list[Any]:
    read = wire.read_json(content.decode())
    found = read.get("inputs") if isinstance(read, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError("no list of inputs")
    return found


def _from_protobuf(content: bytes) -> list[Any]:
    try:
        from clarifai_grpc.grpc.api.resources_pb2 import InputBatch
        from google.protobuf.json_format import MessageToDict
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise Unsupported(
            "protobuf cannot be read without Clarifai's message definitions",
            provider="clarifai",
            operation="read the records",
            done="The files are there and untouched",
            tip='pip install "mlflow-dsver[clarifai]", or MLFLOW_DSVER_CLARIFAI_FORMAT=json',
        ) from error
    try:
        batch = InputBatch.FromString(content)
    except DecodeError as error:
        raise ValueError("no protobuf") from error
    return [MessageToDict(each, preserving_proto_field_name=True) for each in batch.inputs]
