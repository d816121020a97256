"""S3 Inventory reports in the place of a listing: from a folder, from a bucket, and damaged."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_servers import Bucket

from mlflow_dsver.errors import ContentError, CorruptObject, DsverError, NotFound
from mlflow_dsver.providers.buckets import inventory
from mlflow_dsver.providers.buckets.connect import Location
from mlflow_dsver.providers.buckets.inventory import read_inventory

SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
MADE = datetime(2026, 11, 30, 1, 0, tzinfo=UTC)
DATE = "2026-11-29T06:00:00.000Z"
CATS = Location("s3", "zoo", "cats")
Row = Sequence[str]


def row(key: str, *, version: str = "v1", latest: str = "true", deleted: str = "false", size: str = "3") -> Row:
    return ("zoo", quote_plus(key, safe="/"), version, latest, deleted, size, DATE, "etag")


def csv_of(rows: Sequence[Row]) -> bytes:
    return gzip.compress("".join(",".join(f'"{each}"' for each in line) + "\n" for line in rows).encode())


def report(content: bytes, **other: Any) -> dict[str, Any]:
    """The manifest.json of a report with one file."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {
        "sourceBucket": "zoo",
        "destinationBucket": "arn:aws:s3:::reports",
        "version": "2016-11-30",
        "creationTimestamp": str(int(MADE.timestamp() * 1000)),
        "fileFormat": "CSV",
        "fileSchema": SCHEMA,
        "files": [{"key": "zoo/daily/data/one.csv.gz", "size": len(content), "MD5checksum": md5}],
    } | other


def written(folder: Path, content: bytes, **other: Any) -> str:
    """A report as it is in its bucket: a folder of its date, and the files in `data` beside it."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    (folder / "data" / "one.csv.gz").write_bytes(content)
    path = folder / "manifest.json"
    path.write_text(json.dumps(report(content, **other)))
    return str(path)


def test_the_latest_versions_below_the_prefix(tmp_path: Path) -> None:
    rows = [
        row("cats/a", version="new", size="22"),
        row("cats/a", version="old", latest="false"),
        row("cats/gone", deleted="true", size=""),
        row("cats/ü +&%,\"'\n", version="null"),
        row("cats2/other"),
        row("dogs/a"),
    ]
    found = read_inventory(CATS, written(tmp_path, csv_of(rows)))
    assert (found.moment, found.keeps_versions, found.source) == (MADE, True, "inventory")
    states = {each.key: each for each in found.objects}
    assert {key: (each.version, each.size) for key, each in states.items()} == {
        "cats/a": ("new", 22),
        "cats/ü +&%,\"'\n": (None, 3),
    }
    assert states["cats/a"].modified == datetime(2026, 11, 29, 6, tzinfo=UTC)


def test_a_report_without_versions(tmp_path: Path) -> None:
    content = csv_of([("zoo", "cats/a", "1", DATE)])
    source = written(tmp_path, content, fileSchema="Bucket, Key, Size, LastModifiedDate")
    found = read_inventory(CATS, source)
    assert found.keeps_versions is None
    assert [(each.key, each.version, each.etag) for each in found.objects] == [("cats/a", None, None)]


def test_a_report_in_a_bucket(bucket: Bucket) -> None:
    content = csv_of([row("cats/a")])
    bucket.put("zoo/daily/data/one.csv.gz", content)
    bucket.put("zoo/daily/2026-11-30T01-00Z/manifest.json", json.dumps(report(content)).encode())
    source = f"s3://{bucket.name}/zoo/daily/2026-11-30T01-00Z/manifest.json"
    assert [each.key for each in read_inventory(CATS, source).objects] == ["cats/a"]


def test_a_report_in_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    when = datetime(2026, 11, 29, 6, tzinfo=UTC)
    fields = {
        "bucket": ["zoo", "zoo"], "key": ["cats/ü %41", "cats/old"], "version_id": ["v1", "v0"],
        "is_latest": [True, False], "is_delete_marker": [False, False], "size": [3, 4],
        "last_modified_date": [when, when], "e_tag": ["etag", "etag"],
    }  # fmt: skip
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(fields), stream)
    schema = "message s3.inventory { " + "".join(f"optional binary {name}; " for name in fields) + "}"
    source = written(tmp_path, stream.getvalue(), fileFormat="Parquet", fileSchema=schema)
    found = read_inventory(CATS, source)
    assert found.keeps_versions is True
    assert [(each.key, each.version, each.size, each.modified, each.etag) for each in found.objects] == [
        ("cats/ü %41", "v1", 3, when, "etag")
    ]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, csv_of([row("cats/a")]))
    (tmp_path / "data" / "one.csv.gz").write_bytes(csv_of([row("cats/b")]))
    with pytest.raises(CorruptObject, match=r"one\.csv\.gz"):
        list(read_inventory(CATS, source).objects)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, csv_of([row("cats/a")]))
    (tmp_path / "data" / "one.csv.gz").unlink()
    with pytest.raises(NotFound, match=r"one\.csv\.gz"):
        list(read_inventory(CATS, source).objects)


@pytest.mark.parametrize(
    "rows",
    [
        [("zoo", "cats/a")],
        [row("cats/a", size="many")],
        [("zoo", "cats/%FF", "v", "true", "false", "1", DATE, "e"), row("cats/%FE")],
        [("zoo", "cats/a", "v", "true", "false", "1", "yesterday", "e")],
        [("zoo", "cats/" + "a" * (inventory.MAX_LINE * 2), "v", "true", "false", "1", DATE, "e")],
    ],
    ids=["columns", "size", "not UTF-8", "date", "long line"],
)
def test_rows_that_are_none_are_refused(tmp_path: Path, rows: Sequence[Row]) -> None:
    with pytest.raises(ContentError):
        list(read_inventory(CATS, written(tmp_path, csv_of(rows))).objects)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    content = csv_of([row(f"cats/{number}") for number in range(1000)])[:-20]
    with pytest.raises(ContentError):
        list(read_inventory(CATS, written(tmp_path, content)).objects)


@pytest.mark.parametrize(
    "other",
    [
        {"sourceBucket": "another"},
        {"creationTimestamp": "yesterday"},
        {"creationTimestamp": "9" * 30},
        {"fileSchema": "Bucket, Key"},
        {"files": 5},
        {"files": [{"key": "x"}]},
    ],
)
def test_manifests_that_are_none_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(ContentError):
        read_inventory(CATS, written(tmp_path, csv_of([]), **other))


def test_a_file_named_with_a_way_out_is_read_beside_the_manifest_only(tmp_path: Path) -> None:
    content = csv_of([row("cats/a")])
    (tmp_path / "outside.csv.gz").write_bytes(content)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    files = [{"key": "../../outside.csv.gz", "MD5checksum": md5}]
    with pytest.raises(NotFound):
        list(read_inventory(CATS, written(tmp_path / "report" / "date", content, files=files)).objects)


@given(st.binary(max_size=200))
def test_any_manifest_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("report") / "manifest.json"
    path.write_bytes(content)
    with pytest.raises(DsverError):
        read_inventory(CATS, str(path))


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).map(lambda text: f"cats/{text}")


@given(st.lists(KEYS, unique=True, max_size=8))
def test_any_key_is_read_back(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    source = written(tmp_path_factory.mktemp("report"), csv_of([row(key) for key in keys]))
    assert [each.key for each in read_inventory(CATS, source).objects] == keys
