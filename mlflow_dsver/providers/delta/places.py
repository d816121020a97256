"""Where a table is, a folder or a prefix in object storage, and the reading of its files.

Object storage is asked by the connections of `buckets`, with its settings and errors; `storage_options` gives the
same settings to deltalake, which has connections of its own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_dsver import settings
from mlflow_dsver.content.atomic_files import safe_join
from mlflow_dsver.errors import InvalidReference, NotFound, PermissionDenied, ProviderUnavailable
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.buckets import connect
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.delta.info import FILE, NAME
from mlflow_dsver.text import one_line, os_text

STORES = ("s3", "gs", "az")


class FileState(NamedTuple):
    """What the file system or store says of a file now. etag: None on a disk."""

    size: int
    modified: datetime
    etag: str | None = None


class Place(NamedTuple):
    """A table's folder, or its prefix in object storage; one of them is None."""

    dataset: str
    folder: Path | None = None
    location: Location | None = None

    @property
    def uri(self) -> str:
        """The address as deltalake, Spark and Polars take it."""
        return str(self.folder) if self.location is None else self.location.uri

    @property
    def ref(self) -> DatasetRef:
        """The table's reference, without a version."""
        return DatasetRef(NAME, self.dataset)

    def names(self, folder: str) -> dict[str, FileState]:
        """The files directly in a folder of the table; none for one that is not there."""
        if self.location is not None:
            return _listed(self.location, folder)
        try:
            with _disk(self, folder), os.scandir(self._path(folder)) as found:
                return {each.name: _state(each.stat()) for each in found if each.is_file()}
        except NotFound:
            return {}

    def state(self, path: str) -> FileState:
        """What is said of one file. Raises NotFound when it is not there."""
        if self.location is not None:
            import obstore

            with connect.storage_errors(self.location, "check the files", path):
                meta = obstore.head(connect.object_store(self.location), self.location.key(path))
            return FileState(meta["size"], meta["last_modified"], (meta.get("e_tag") or "").strip('"') or None)
        with _disk(self, path):
            found = self._path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            raise self._not_there(path)
        return _state(found)

    def read(self, path: str, start: int = 0, stop: int | None = None) -> Any:
        """The bytes of a file from start to stop (None: its end). Raises NotFound when it is not there."""
        if self.location is not None:
            import obstore

            options: dict[str, Any] = {} if stop is None else {"range": (start, stop)}
            if stop == start:
                return b""
            with connect.storage_errors(self.location, "fetch", path):
                store = connect.object_store(self.location)
                return obstore.get(store, self.location.key(path), options=options).bytes()  # type: ignore[arg-type]
        self.state(path)  # a pipe would wait for ever
        with _disk(self, path), self._path(path).open("rb") as stream:
            stream.seek(start)
            return stream.read(-1 if stop is None else stop - start)

    def _path(self, path: str) -> Path:
        assert self.folder is not None
        return safe_join(self.folder, path)

    def _not_there(self, path: str) -> NotFound:
        return NotFound(
            f"there is no file {one_line(path, 200)}", provider=NAME, operation="read files", reference=self.ref
        )


def place_of(dataset: str) -> Place:
    """Where a table is. Raises InvalidReference for a name that is no place."""
    kind, _, rest = dataset.partition("/")
    if rest and kind == FILE:
        return Place(dataset, Path(os_text(f"/{rest}")))
    if rest and kind in STORES:
        return Place(dataset, location=connect.location(kind, rest))
    raise InvalidReference(
        "names no place where a table could be",
        got=dataset[:80],
        expected="delta://file/…, delta://s3/…, delta://gs/… or delta://az/…",
        tip="delta://./table for a folder here, delta:///data/table, or delta://s3://bucket/table",
    )


def storage_options(place: Place) -> dict[str, str] | None:
    """What deltalake must be told to connect as this package does; None on a disk. Holds secrets."""
    if place.location is None:
        return None
    seconds = f"{max(1, round(settings.provider_timeout()))}s"
    options = {"connect_timeout": "5s", "timeout": "60s", "retry_timeout": seconds, "max_retries": "6"}
    if place.location.provider == "gs":
        emulator = connect.gs_emulator()
        key = {} if emulator is None else {"google_service_account_key": connect.no_account_key(emulator)}
        return options | key | _plain_http(emulator)
    if place.location.provider == "az":
        azure = connect.azure_settings()
        named = {f"azure_storage_{name}": value for name, value in azure.items()}
        return options | named | _plain_http(azure.get("endpoint"))
    return options | _s3_options(place.location)


def _plain_http(endpoint: str | None) -> dict[str, str]:
    return {"allow_http": "true"} if endpoint is not None and endpoint.startswith("http://") else {}


def _s3_options(location: Location) -> dict[str, str]:
    options: dict[str, str] = {}
    found = connect.s3_settings()
    if found.endpoint is not None:
        options |= {"AWS_ENDPOINT_URL": found.endpoint, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}
        options |= _plain_http(found.endpoint)
    if found.anonymous:
        options["AWS_SKIP_SIGNATURE"] = "true"
    elif found.keys is not None:
        identifier, secret, token = found.keys
        options |= {"AWS_ACCESS_KEY_ID": identifier.reveal(), "AWS_SECRET_ACCESS_KEY": secret.reveal()}
        options |= {} if token is None else {"AWS_SESSION_TOKEN": token.reveal()}
    elif connect.needs_session() and (session := connect.s3_session()) is not None:
        options |= _of_session(session)
    region = found.region or options.get("AWS_REGION") or _region(location.bucket)
    return options | {"AWS_REGION": region}


@lru_cache(16)
def _region(bucket: str) -> str:
    return connect.bucket_region(bucket)


def _of_session(session: Any) -> dict[str, str]:
    """What boto3 finds in profiles, SSO and assumed roles now: deltalake cannot read those, nor renew them."""
    found = session.get_credentials()
    if found is None:
        return {}
    keys = found.get_frozen_credentials()
    options = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    options |= {"AWS_SESSION_TOKEN": keys.token} if keys.token else {}
    return options | ({"AWS_REGION": session.region_name} if session.region_name else {})


def _listed(location: Location, folder: str) -> dict[str, FileState]:
    import obstore

    prefix = location.key(folder)
    with connect.storage_errors(location, "list the log"):
        found = obstore.list_with_delimiter(connect.object_store(location), prefix=prefix)
    return {
        meta["path"].rpartition("/")[2]: FileState(meta["size"], meta["last_modified"], meta.get("e_tag"))
        for meta in found["objects"]
    }


def _state(found: os.stat_result) -> FileState:
    return FileState(found.st_size, datetime.fromtimestamp(found.st_mtime_ns // 1_000_000 / 1000, UTC))


@contextmanager
def _disk(place: Place, path: str) -> Iterator[None]:
    """Errors of the file system in this package's terms."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise place._not_there(path) from None
    except OSError as error:
        kind = PermissionDenied if isinstance(error, PermissionError) else ProviderUnavailable
        raise kind(
            f"{one_line(path, 200)} cannot be read",
            provider=NAME,
            operation="read files",
            reference=place.ref,
            got=error.strerror,
        ) from error
