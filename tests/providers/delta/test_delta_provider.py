"""References to Delta tables, their versions, manifests and loaded tables."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from deltalake import DeltaTable
from lakes import Lake, user

import mlflow_dsver as dsver
from mlflow_dsver import plugins
from mlflow_dsver.errors import DsverError, InvalidReference, NotFound, PermissionDenied, SettingsError, Unsupported
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.delta import DeltaProvider, recorded
from mlflow_dsver.providers.interface import Provider


def found(lake: Lake, selector: str | None = None) -> DatasetVersion:
    return DeltaProvider().resolve(ref(lake, selector))


def ref(lake: Lake, selector: str | None = None) -> DatasetRef:
    return parse(f"delta://{lake.folder}").at(selector)


def ids(table: object) -> list[int]:
    return sorted(table["id"].to_pylist())  # type: ignore[index]


# References


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("delta:///data/t@3", "delta://file/data/t@3"),
        ("delta:///data/a b/t@v3", "delta://file/data/a%20b/t@v3"),
        ("delta:///data/../t/", "delta://file/t"),
        ("delta:///data/a@b/t", "delta://file/data/a%40b/t"),
        ("delta://file:///data/t@latest", "delta://file/data/t@latest"),
        ("DELTA://s3://bucket/a/t@3-53a33b6ac022", "delta://s3/bucket/a/t@3-53a33b6ac022"),
        ("delta://s3a://bucket/t/", "delta://s3/bucket/t"),
        ("delta://gs/bucket/t", "delta://gs/bucket/t"),
        ("delta://abfss://container/t", "delta://az/container/t"),
        ("delta:///t@2026-12-01T06:30:00Z", "delta://file/t@2026-12-01T06%3A30%3A00Z"),
    ],
)
def test_folders_and_addresses_are_spelled_as_people_write_them(written: str, canonical: str) -> None:
    assert str(parse(written)) == canonical
    assert str(parse(canonical)) == canonical


def test_a_relative_folder_is_the_one_below_the_present_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "50%20").mkdir()
    monkeypatch.chdir(tmp_path / "50%20")
    assert parse("delta://./t").dataset == f"file{tmp_path}/50%20/t"
    assert parse("delta://../t@1").dataset == f"file{tmp_path}/t"
    assert parse("delta://.").dataset == f"file{tmp_path}/50%20"


@pytest.mark.parametrize(
    "text",
    [
        "delta://",
        "delta:///data/../..//",
        "delta:///data/.hidden/t",
        "delta://ftp://host/t",
        "delta://s3://key:secret-word@bucket/t",
        "delta://s3://bucket/t?X-Amz-Signature=secret-word",
        "delta:///data/%2e%2e/%00",
    ],
)
def test_what_is_no_place_is_refused_without_its_secrets(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    assert "secret-word" not in str(caught.value)


def test_a_name_without_a_place_says_how_it_is_written() -> None:
    with pytest.raises(InvalidReference, match=r"delta://\./table"):
        DeltaProvider().resolve(parse("delta://data/t"))


# Versions


def test_a_version_is_a_number_and_the_tables_id(lake: Lake) -> None:
    version = found(lake)
    table_id = str(DeltaTable(str(lake.folder)).metadata().id)
    assert version.id == f"1-{table_id.replace('-', '')[:12]}"
    assert (version.raw["table"], version.raw["version"]) == (table_id, 1)
    assert version.counts == {"files": 2, "rows": 5}
    assert DeltaProvider().revision(version) == "1"


@pytest.mark.parametrize("selector", ["0", "v0", "V0", "{id}"])
def test_version_0_is_a_version(lake: Lake, selector: str) -> None:
    zero = list(DeltaProvider().versions(ref(lake).dataset))[-1]
    version = found(lake, selector.format(id=zero.id))
    assert version.ref == zero.ref
    assert version.counts["rows"] == 3


def test_the_commits_own_words_are_message_and_metadata(lake: Lake) -> None:
    lake.write([6], commit_properties=user(userMetadata="round 3", by="me"))
    listed = next(DeltaProvider().versions(ref(lake).dataset))
    for version in (found(lake), listed):
        assert version.message == "WRITE"
        assert version.metadata["userMetadata"] == "round 3"
        assert version.metadata["by"] == "me"
        assert version.created is not None


DAYS = [int(datetime(2026, 11, day, 12, tzinfo=UTC).timestamp() * 1000) for day in (10, 20)]


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("2026-11-10T12:00:00Z", 0),
        ("2026-11-10T13:30:00+01:00", 0),
        ("2026-11-20", 0),  # the first moment of that day
        ("2026-11-20 11:59:59.999", 0),
        ("2026-11-20T12:00:00", 1),
        ("2026-11-21", 1),
    ],
)
def test_a_date_means_the_newest_version_not_committed_later(lake: Lake, moment: str, number: int) -> None:
    for version, milliseconds in enumerate(DAYS):
        lake.dated(version, milliseconds)
    assert found(lake, moment).id.startswith(f"{number}-")


def test_a_date_before_the_first_version_is_not_found(lake: Lake) -> None:
    with pytest.raises(NotFound, match="so old"):
        found(lake, "1999-12-31")


@pytest.mark.parametrize(
    "selector", ["2", "99999999999999999", "2026-13-01", "2026-11-20Tx", "clean", "1-" + "0" * 12]
)
def test_a_version_that_is_not_there_is_not_found(lake: Lake, selector: str) -> None:
    with pytest.raises(NotFound):
        found(lake, selector)


def test_a_cleaned_log_lists_what_can_still_be_loaded(lake: Lake) -> None:
    lake.write([6])
    DeltaTable(str(lake.folder)).create_checkpoint()
    lake.write([7])
    recorded_then = found(lake, "2")
    for version in (0, 1, 2):
        lake.commit(version).unlink()
    listed = list(DeltaProvider().versions(ref(lake).dataset))
    assert [each.id.partition("-")[0] for each in listed] == ["3", "2"]
    now = found(lake, "2")
    assert now.content_digest == recorded_then.content_digest
    assert now.created is None
    with pytest.raises(NotFound, match="cleaned up before version 2"):
        found(lake, "1")


def test_an_id_of_a_replaced_table_is_told_for_each_version(lake: Lake) -> None:
    """CREATE OR REPLACE goes on counting under another table id."""
    lake.write([9], mode="overwrite")
    actions = lake.actions(2)
    metadata = next(each for each in lake.actions(0) if "metaData" in each)["metaData"]
    lake.put(2, [{"metaData": metadata | {"id": "11111111-2222-3333-4444-555555555555"}}, *actions])
    old = str(metadata["id"]).replace("-", "")[:12]
    assert [each.id for each in DeltaProvider().versions(ref(lake).dataset)] == [
        "2-111111112222",
        f"1-{old}",
        f"0-{old}",
    ]


# Files


def test_equal_files_of_two_versions_are_equal_and_others_differ(lake: Lake) -> None:
    before, after = found(lake, "0"), found(lake, "1")
    difference = dsver.diff(before.ref, after.ref).difference
    assert (difference.unchanged, len(difference.added), len(difference.unknown)) == (1, 1, 0)


def test_a_manifest_depends_on_the_log_alone(lake: Lake, tmp_path: Path) -> None:
    shutil.copytree(lake.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert found(Lake(tmp_path / "copy")).content_digest == found(lake).content_digest
    shutil.rmtree(tmp_path / "copy" / lake.data(1)[0].parent.name, ignore_errors=True)


def test_deleted_rows_are_part_of_a_version(lake: Lake) -> None:
    number = lake.delete_rows(0, 2)
    provider, version = DeltaProvider(), found(lake)
    manifest = provider.manifest(version)
    assert version.counts["rows"] == 3, number
    names = [entry.path for entry in manifest.entries if entry.path.endswith(".deleted-rows.json")]
    assert len(names) == 1
    with provider.open(version, names[0]) as stream:
        assert stream.read() == b"[0,2]\n"
    assert ids(provider.table(version, "arrow")) == [2, 4, 5]
    other = lake.delete_rows(1)
    assert dsver.diff(version.ref, found(lake, str(other)).ref).difference.changed


def test_files_of_another_table_are_refused_plainly(lake: Lake) -> None:
    """As in a shallow clone."""
    actions = lake.actions(1)
    for action in actions:
        if "add" in action:
            action["add"]["path"] = "file:///elsewhere/part.parquet"
    lake.put(1, actions)
    with pytest.raises(Unsupported, match="shallow clone"):
        found(lake)


@pytest.mark.parametrize("path", ["../../outside.parquet", "a//b.parquet", ""])
def test_a_log_with_hostile_paths_is_damaged(lake: Lake, path: str) -> None:
    actions = lake.actions(1)
    for action in actions:
        if "add" in action:
            action["add"]["path"] = path
    lake.put(1, actions)
    with pytest.raises(DsverError, match=r"damaged|cannot load"):
        found(lake)


# Tables


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_table_is_loaded_at_exactly_this_version(lake: Lake, kind: str) -> None:
    version = found(lake, "0")
    table = DeltaProvider().table(version, kind)  # type: ignore[arg-type]
    assert sorted(int(each) for each in table["id"].to_numpy()) == [1, 2, 3]


def test_rows_come_in_the_same_order_after_a_checkpoint(lake: Lake) -> None:
    for each in range(6, 12):
        lake.write([each])
    version, provider = found(lake), DeltaProvider()
    before = provider.table(version, "arrow")
    DeltaTable(str(lake.folder)).create_checkpoint()
    assert provider.table(version, "arrow").equals(before)


def test_partition_columns_are_columns_of_the_table(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "parts #1")
    lake.write([1, 2, 3, 4], partition_by=["label"])
    table = DeltaProvider().table(found(lake), "arrow")
    assert sorted(zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)) == [
        (1, "1"),
        (2, "2"),
        (3, "0"),
        (4, "1"),
    ]


def test_a_renamed_column_has_its_values(lake: Lake) -> None:
    """Column mapping: files keep the physical name, and a reader that does not know that gives nulls."""
    actions = lake.actions(0)
    for action in actions:
        if "metaData" in action:
            schema = json.loads(action["metaData"]["schemaString"])
            for number, field in enumerate(schema["fields"], 1):
                physical = {"delta.columnMapping.id": number, "delta.columnMapping.physicalName": field["name"]}
                field["metadata"] = physical
            schema["fields"][1]["name"] = "truth"
            action["metaData"]["schemaString"] = json.dumps(schema)
            action["metaData"]["configuration"] = {
                "delta.columnMapping.mode": "name",
                "delta.columnMapping.maxColumnId": "2",
            }
        if "protocol" in action:
            action["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
    lake.put(0, actions)
    table = DeltaProvider().table(found(lake), "pandas")
    assert sorted(table["truth"]) == ["0", "1", "1", "2", "2"]


def test_a_feature_that_deltalake_lacks_is_no_damage(lake: Lake) -> None:
    actions = lake.actions(0)
    for action in actions:
        if "protocol" in action:
            features = {"readerFeatures": ["futureFeature"], "writerFeatures": ["futureFeature"]}
            action["protocol"] = {"minReaderVersion": 3, "minWriterVersion": 7, **features}
    lake.put(0, actions)
    with pytest.raises(Unsupported, match="feature"):
        found(lake)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_log_that_may_not_be_read_is_no_damage(lake: Lake) -> None:
    lake.commit(1).chmod(0)
    with pytest.raises(PermissionDenied):
        found(lake)


def test_a_missing_library_says_how_to_install_it(lake: Lake) -> None:
    if _installed("pyspark"):
        pytest.skip("pyspark is installed")
    with pytest.raises(SettingsError, match="pip install pyspark"):
        DeltaProvider().table(found(lake), "spark")


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    return find_spec(name) is not None


def test_rows_of_two_versions_are_compared_as_loaded(lake: Lake) -> None:
    """The files of both have nothing in common."""
    lake.write([1, 2, 3, 4, 6], mode="overwrite")
    (table,) = dsver.diff(ref(lake, "1"), ref(lake, "2"), rows=True).tables
    assert (table.key, table.rows_before, table.rows_after) == ("id", 5, 5)
    assert (table.added, table.removed, table.changed) == (1, 1, 0)


# What others recorded, and folders


@pytest.mark.parametrize(
    ("source", "reference", "requested"),
    [
        ({"path": "/data/t", "delta_table_version": 7}, "delta://file/data/t", "delta://file/data/t@7"),
        ({"path": "/data/t"}, "delta://file/data/t", "delta://file/data/t"),  # MLflow leaves version 0 out
        ({"path": "file:/data/t"}, "delta://file/data/t", "delta://file/data/t"),
        ({"path": "s3a://bucket/t", "delta_table_version": 2}, "delta://s3/bucket/t", "delta://s3/bucket/t@2"),
    ],
)
def test_what_mlflow_recorded_names_a_table_and_no_exact_version(
    source: dict[str, object], reference: str, requested: str
) -> None:
    (known,) = recorded.from_mlflow(source)
    assert (known.reference, known.requested) == (reference, requested)
    assert str(parse(known.reference)) == reference


@pytest.mark.parametrize(
    "source", [{}, {"delta_table_name": "a.b.c"}, {"path": "dbfs:/t"}, {"path": 3}, {"path": "t"}]
)
def test_what_cannot_be_told_is_no_reference(source: dict[str, object]) -> None:
    assert recorded.from_mlflow(source) == []


def test_a_folder_says_which_version_it_is(lake: Lake) -> None:
    target = plugins.provider_infos()["delta"].folder_reference
    assert target is not None
    name = plugins.load(target)
    assert name(lake.folder).reference == str(found(lake).ref)
    assert name(lake.data(0)[0]).reference == str(found(lake).ref)
    assert name(lake.folder.parent) is None


def test_the_provider_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, lake: Lake) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    provider: Provider = DeltaProvider()
    with pytest.raises(SettingsError, match=r"mlflow-dsver\[delta\]"):
        provider.resolve(ref(lake))
    assert not provider.health().ok


def test_spark_is_told_the_number_and_the_place(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the session: Delta's own package for Spark is in no Python registry."""
    asked: list[object] = []

    class Reader:
        def format(self, name: str) -> Reader:
            asked.append(name)
            return self

        def option(self, *pair: object) -> Reader:
            asked.append(pair)
            return self

        def load(self, address: str) -> str:
            asked.append(address)
            return "frame"

    session = SimpleNamespace(read=Reader())
    sql = SimpleNamespace(SparkSession=SimpleNamespace(getActiveSession=lambda: session))
    monkeypatch.setitem(sys.modules, "pyspark", SimpleNamespace(sql=sql))
    monkeypatch.setitem(sys.modules, "pyspark.sql", sql)
    version = found(lake, "0")
    assert DeltaProvider().table(version, "spark") == "frame"
    assert asked == ["delta", ("versionAsOf", 0), str(lake.folder)]
    lake.data(0)[0].unlink()
    with pytest.raises(NotFound):
        DeltaProvider().table(version, "spark")
