"""Files of a version from the team's own S3 bucket, with the user's own keys of that bucket.

A version's `url` is `s3://bucket/team/datasets/<dataset>/versions/<version>` by older documents, and its files lie
below `data/`. Keys, endpoint and region are those that S3 tools read (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_ENDPOINT_URL`, `AWS_REGION`); keys that Paperspace's API may show are never used, nor is an endpoint it names.
Files are fetched once into the cache, whole or not at all, and hashed each time they are handed out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import atomic_folder, atomic_write, check_new_folder, safe_join
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.content.progress import Progress
from mlflow_dsver.content.stat_cache import default_cache
from mlflow_dsver.errors import (
    CorruptObject,
    ProviderUnavailable,
    SettingsError,
    StoreError,
    UnexpectedResponse,
)
from mlflow_dsver.model.manifests import InvalidManifest, Manifest
from mlflow_dsver.model.manifests import read as read_manifest
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.secrets import Secret, redact, redacted
from mlflow_dsver.text import one_line

if TYPE_CHECKING:
    from obstore.store import S3Store

TIP = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the team's own bucket with pip install 'mlflow-dsver[s3]'"
DATA = "data"
PART = 8 << 20
"""Bytes per request, which times out after 30 seconds."""
AT_ONCE = 8
_FILES, _MANIFEST = "files", "manifest.jsonl.gz"


def path(version: DatasetVersion, progress: Progress) -> Path | None:
    """A folder with the version's files; None where there are no keys, or the version has no `s3://` address.

    Raises CorruptObject when the files differ from those fetched before or from the metadata's digest.
    """
    place = _cached(version)
    if not (place / _MANIFEST).is_file():
        keys = _keys()
        if keys is None or _location(version) is None:
            return None
        with _meanings(version, keys):
            _fetch(version, place, _store(version, keys), progress)
    expected = _recorded(place, version)
    found = hash_folder(place / _FILES, cache=default_cache(), progress=progress)
    if found.digest != expected.digest or version.content_digest not in (None, found.digest):
        raise CorruptObject(
            "the copy of this version's files is not what it should be",
            reference=version.ref,
            expected=version.content_digest or expected.digest,
            got=found.digest,
            done="Nothing was served",
            tip=f"remove {one_line(place)} to fetch it anew",
        )
    return place / _FILES


def manifest(version: DatasetVersion) -> Manifest | None:
    """The manifest of the copy that was fetched before; None when there is none."""
    place = _cached(version)
    return _recorded(place, version) if (place / _MANIFEST).is_file() else None


def _cached(version: DatasetVersion) -> Path:
    """A folder named after a hash, since ids are not ours."""
    name = hashlib.sha256(str(version.ref).encode()).hexdigest()[:32]
    return settings.home() / "cache" / "paperspace" / name


def _recorded(place: Path, version: DatasetVersion) -> Manifest:
    try:
        with (place / _MANIFEST).open("rb") as stream:
            return read_manifest(stream)
    except (InvalidManifest, OSError) as error:
        raise CorruptObject(
            "the manifest of its copy is damaged", reference=version.ref, tip=f"remove {one_line(place)}"
        ) from error


def _keys() -> dict[str, Any] | None:
    identifier, secret = settings.text("AWS_ACCESS_KEY_ID"), settings.secret("AWS_SECRET_ACCESS_KEY")
    if identifier is None or secret is None:
        return None
    token = settings.secret("AWS_SESSION_TOKEN")
    return {"identifier": Secret(identifier), "secret": secret, "token": token}


def _location(version: DatasetVersion) -> tuple[str, str] | None:
    """Bucket and prefix of a version's files, with a slash at its end; None where the service says none."""
    url = version.raw.get("url")
    if not isinstance(url, str) or not url.startswith("s3://"):
        return None
    parts = urlsplit(url)
    segments = parts.path.strip("/").split("/")
    if not parts.netloc or "" in segments or ".." in segments or "." in segments or version.id != segments[-1]:
        raise UnexpectedResponse(
            "the address of the files is not that of a version",
            provider="paperspace",
            reference=version.ref,
            expected=f"s3://bucket/…/versions/{version.id}",
            got=one_line(url, 120),
        )
    return parts.netloc, "/".join((*segments, DATA)) + "/"


def _store(version: DatasetVersion, keys: dict[str, Any]) -> S3Store:
    try:
        from obstore.store import S3Store
    except ImportError as error:
        raise SettingsError("reading a bucket needs obstore", tip="pip install 'mlflow-dsver[s3]'") from error
    location = _location(version)
    assert location is not None
    endpoint = settings.text("AWS_ENDPOINT_URL_S3") or settings.text("AWS_ENDPOINT_URL")
    token: Secret | None = keys["token"]
    optional: dict[str, Any] = {} if token is None else {"session_token": token.reveal()}
    if endpoint is not None:
        optional["endpoint"] = endpoint
    return S3Store(
        location[0],
        prefix=location[1],
        access_key_id=keys["identifier"].reveal(),
        secret_access_key=keys["secret"].reveal(),
        region=settings.text("AWS_REGION") or settings.text("AWS_DEFAULT_REGION") or "us-east-1",
        client_options={
            "allow_http": bool(endpoint and endpoint.startswith("http://")),
            "connect_timeout": "5s",
            "timeout": "30s",
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=60)},
        **optional,
    )


def _fetch(version: DatasetVersion, place: Path, store: S3Store, progress: Progress) -> None:
    """Fetch all objects into a temporary folder, hash it, and rename it into place with its manifest."""
    objects = list(_objects(store))
    if not objects:
        raise CorruptObject(
            "the bucket has no file of this version", reference=version.ref, done="Nothing was fetched"
        )
    check_new_folder(place)
    progress.total(len(objects), sum(size for _, size in objects))
    with atomic_folder(place) as beside:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for size in pool.map(lambda each: _fetch_one(store, each, beside / _FILES, version), objects):
                progress.advance(1, size)
        with atomic_write(beside / _MANIFEST) as stream:
            hash_folder(beside / _FILES).write(stream)


def _objects(store: S3Store) -> Iterator[tuple[str, int]]:
    for batch in store.list():
        for entry in batch:
            yield entry["path"], entry["size"]


def _fetch_one(store: S3Store, entry: tuple[str, int], folder: Path, version: DatasetVersion) -> int:
    """Fetch an object part by part, since a time-out applies to a whole request; return its size in bytes."""
    key, size = entry
    try:
        target = safe_join(folder, key)
    except InvalidManifest as error:
        raise UnexpectedResponse(
            "the bucket has a name that leaves its folder",
            provider="paperspace",
            reference=version.ref,
            got=str(error),
        ) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as stream:
        for start in range(0, size, PART):
            length = min(PART, size - start)
            if stream.write(store.get_range(key, start=start, length=length)) != length:
                raise CorruptObject(f"{one_line(key, 100)} came incomplete", reference=version.ref)
    return size


class _meanings:  # noqa: N801 (used as a statement)
    """Turns the object store's and the disk's errors into ours, without keys in them."""

    def __init__(self, version: DatasetVersion, keys: dict[str, Any]) -> None:
        self.version, self.keys = version, keys

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or kind is None:
            return
        message = one_line(redacted(redact(str(error), self.keys.values())), 300)
        if kind.__module__.startswith("obstore"):
            raise ProviderUnavailable(
                "the bucket cannot be read",
                provider="paperspace",
                operation="get the files",
                reference=self.version.ref,
                got=f"{kind.__name__}: {message}",
                tip=f"{TIP}; AWS_ENDPOINT_URL and AWS_REGION where it is not at AWS",
            ) from ConnectionError(message)
        if isinstance(error, OSError) and not isinstance(error, StoreError | ProviderUnavailable):
            raise StoreError(f"{_cached(self.version)} cannot be written: {error.strerror}") from error
