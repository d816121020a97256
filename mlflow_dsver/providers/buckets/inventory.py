"""Reads an S3 Inventory report in the place of a listing, for prefixes with more objects than one wants to list.

A report has the objects of a bucket as they were when AWS made it, up to a day before. Its manifest.json names the
files and their columns; each file's MD5 is compared. CSV is read here; Parquet needs PyArrow, and ORC is refused.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

from mlflow_dsver.errors import ContentError, CorruptObject, NotFound, SettingsError, StoreError
from mlflow_dsver.providers.buckets.connect import Location, address, object_store, storage_errors
from mlflow_dsver.providers.buckets.objects import Listing, ObjectState
from mlflow_dsver.text import one_line

MAX_MANIFEST = 16 << 20
MAX_FILE = 1 << 32
"""Maximum bytes of a report's file, compressed; AWS makes files of some 100 MB."""
MAX_LINE = 1 << 16
"""Maximum characters of a row; a key has at most 1,024 bytes."""
_NEEDED = ("Bucket", "Key", "Size", "LastModifiedDate")
_OTHERS = ("VersionId", "IsLatest", "IsDeleteMarker", "ETag")
Read = Callable[[str, int], bytes]


def read_inventory(place: Location, source: str) -> Listing:
    """The objects below a prefix as a report has them. source: path or address of the report's manifest.json.

    Raises ContentError for a report of another bucket or one that cannot be read, CorruptObject for a damaged file.
    """
    read, name = _reader(source)
    try:
        report = json.loads(read(name, MAX_MANIFEST))
        files = [(str(each["key"]), str(each["MD5checksum"])) for each in report["files"]]
        made = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(report["creationTimestamp"]))
        kind = str(report["fileFormat"])
        columns = _columns(str(report["fileSchema"]), kind)
        bucket = str(report["sourceBucket"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise _unusable(source, f"its manifest.json is none ({type(error).__name__})") from error
    if place.provider != "s3" or bucket != place.bucket:
        raise _unusable(source, f"it is of the bucket {one_line(bucket, 80)}, not of {place.bucket}")
    missing = [column for column in _NEEDED if column not in columns]
    if missing:
        raise _unusable(source, f"it has no column {', '.join(missing)}")
    rows = (row for key, md5 in files for row in _rows(_file(read, source, name, key, md5), kind, columns, source))
    return Listing(_states(place, rows, source), made, "VersionId" in columns or None, "inventory")


def _states(place: Location, rows: Iterator[Mapping[str, Any]], source: str) -> Iterator[ObjectState]:
    below = place.key("")
    for row in rows:
        try:
            key = str(row["Key"])
            if not key.startswith(below) and key != place.prefix:
                continue
            if str(row.get("IsLatest", "true")).lower() == "false" or _true(row.get("IsDeleteMarker")):
                continue
            modified = row["LastModifiedDate"]
            if isinstance(modified, str):
                modified = datetime.fromisoformat(modified)
            version, etag = row.get("VersionId") or None, row.get("ETag") or None
            aware = modified if modified.tzinfo else modified.replace(tzinfo=UTC)
            yield ObjectState(key, int(row["Size"]), None if version == "null" else version, etag, aware)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unusable(source, f"a row that is none ({one_line(error, 100)})") from error


def _true(value: object) -> bool:
    return str(value).lower() == "true"


def _columns(schema: str, kind: str) -> list[str]:
    if kind == "CSV":
        return [column.strip() for column in schema.split(",")]
    names = {name.lower().replace("_", ""): name for name in (*_NEEDED, *_OTHERS)}
    found = [word.rstrip(";").lower().replace("_", "") for word in schema.split()]
    return [names[word] for word in found if word in names]


def _rows(content: bytes, kind: str, columns: list[str], source: str) -> Iterator[Mapping[str, Any]]:
    if kind == "CSV":
        try:
            with gzip.open(io.BytesIO(content), "rt", encoding="utf-8", newline="") as stream:
                lines = iter(lambda: stream.readline(MAX_LINE), "")
                for values in csv.reader(lines):
                    row = dict(zip(columns, values, strict=True))
                    yield row | {"Key": unquote_plus(row["Key"], errors="strict")}
        except (OSError, EOFError, zlib.error, ValueError, csv.Error) as error:
            raise _unusable(source, f"a file of it cannot be read ({one_line(error, 100)})") from error
    elif kind == "Parquet":
        yield from _parquet(content, source)
    else:
        raise _unusable(source, f"its format is {one_line(kind, 20)}")


def _parquet(content: bytes, source: str) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise SettingsError(
            "a report in Parquet needs PyArrow", tip="pip install pyarrow, or a report in CSV"
        ) from error
    names = {name.lower().replace("_", ""): name for name in (*_NEEDED, *_OTHERS)}
    try:
        for batch in pyarrow.parquet.ParquetFile(io.BytesIO(content)).iter_batches():
            for row in batch.to_pylist():
                yield {
                    names[name.replace("_", "")]: value
                    for name, value in row.items()
                    if name.replace("_", "") in names
                }
    except pyarrow.ArrowException as error:
        raise _unusable(source, f"a file of it cannot be read ({one_line(error, 100)})") from error


def _file(read: Read, source: str, manifest: str, key: str, md5: str) -> bytes:
    """A file of the report. Its key is that in the destination bucket; of a local copy, the file's name counts."""
    content = read(key if "://" in source else str(Path(manifest).parent / "data" / Path(key).name), MAX_FILE)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise CorruptObject(
            f"a file of the inventory is damaged: {one_line(key, 200)}", reference=source, expected=md5, got=found
        )
    return content


def _reader(source: str) -> tuple[Read, str]:
    """A function that reads a file of the report, and the name of its manifest.json for it."""
    if "://" in source:
        place = address(source, "inventory")
        return (lambda key, most: _object(place, key, most)), place.prefix
    return _local, source


def _object(place: Location, key: str, most: int) -> bytes:
    import obstore

    with storage_errors(place, "read the inventory", key):
        found = obstore.get(object_store(place), key)
        if found.meta["size"] > most:
            raise _unusable(place.uri, f"{one_line(key, 100)} has more than {most:,} bytes")
        return bytes(found.bytes())


def _local(path: str, most: int) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            content = stream.read(most + 1)
    except FileNotFoundError as error:
        side = Path(path).parent.parent / Path(path).name
        if Path(path).parent.name == "data" and side.is_file():
            return _local(str(side), most)
        raise NotFound(f"there is no file {one_line(path, 300)}", provider="s3", operation="inventory") from error
    except OSError as error:
        raise StoreError(f"{one_line(path, 300)} cannot be read: {error.strerror}") from error
    if len(content) > most:
        raise _unusable(path, f"more than {most:,} bytes")
    return content


def _unusable(source: str, why: str) -> ContentError:
    return ContentError(
        f"the inventory cannot be used: {why}",
        reference=one_line(source, 300),
        expected="manifest.json of an S3 Inventory report in CSV or Parquet",
        done="No snapshot was taken",
    )
