"""Delta tables in real servers of object storage: as in a folder, by the settings of `s3://`, `gs://` and `az://`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from deltalake import DeltaTable, write_deltalake
from lakes import Lake
from object_servers import (
    KEY_ID,
    SECRET,
    Bucket,
    azure_server,
    gcs_server,
    new_azure_container,
    new_bucket,
    new_google_bucket,
    s3_server,
)

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import Verdict
from mlflow_dsver.errors import DsverError, NotFound, ProviderUnavailable
from mlflow_dsver.model.refs import parse
from mlflow_dsver.providers.delta import DeltaProvider, snapshot
from mlflow_dsver.providers.delta.places import place_of, storage_options


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    made = new_bucket(server, versions=False)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    yield made
    made.client.close()


def options(bucket: Bucket) -> dict[str, str]:
    return {**bucket.variables, "AWS_ALLOW_HTTP": "true", "aws_conditional_put": "etag"}


def write(bucket: Bucket, ids: list[int], mode: Any = "append") -> None:
    rows = pyarrow.table({"id": ids})
    write_deltalake(f"s3://{bucket.name}/lake/t", rows, mode=mode, storage_options=options(bucket))


@pytest.mark.usefixtures("tracking")
def test_a_table_in_a_bucket_is_linked_loaded_and_checked(bucket: Bucket) -> None:
    write(bucket, [1, 2, 3])
    write(bucket, [4])
    address = f"delta://s3://{bucket.name}/lake/t"
    provider = DeltaProvider()
    assert [each.id.partition("-")[0] for each in provider.versions(parse(address).dataset)] == ["1", "0"]
    with dsver.start_run(inputs={"training": f"{address}@0"}) as run:
        data = run.datasets["training"]
        assert sorted(data.table("arrow")["id"].to_pylist()) == [1, 2, 3]
        assert len(list(data.path().glob("*.parquet"))) == 1
    report = dsver.verify(run.info.run_id)
    assert report, str(report)
    write(bucket, [9], "overwrite")
    table = DeltaTable(f"s3://{bucket.name}/lake/t", storage_options=options(bucket))
    assert table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    (found,) = dsver.verify(run.info.run_id).inputs
    assert found.verdict is Verdict.MISSING
    version = provider.resolve(parse(f"{address}@0"))
    with pytest.raises(NotFound, match="gone"):
        provider.table(version, "arrow")


def test_credentials_of_a_profile_are_found_as_for_buckets(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write(bucket, [1])
    lines = ["[lake]", f"aws_access_key_id = {KEY_ID}", f"aws_secret_access_key = {SECRET}"]
    (tmp_path / "credentials").write_text("\n".join(lines))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_PROFILE", "lake")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    options = storage_options(place_of(f"s3/{bucket.name}/lake/t"))
    assert options is not None
    assert (options["AWS_ACCESS_KEY_ID"], options["AWS_SECRET_ACCESS_KEY"]) == (KEY_ID, SECRET)
    assert DeltaProvider().resolve(parse(f"delta://s3/{bucket.name}/lake/t")).counts["rows"] == 1


def test_a_store_that_does_not_answer_deltalake_is_no_damage(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    write(bucket, [1])
    dead = {**options(bucket), "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "max_retries": "0"}
    monkeypatch.setattr(snapshot, "storage_options", lambda _: dead)
    with pytest.raises(ProviderUnavailable) as caught:
        DeltaProvider().resolve(parse(f"delta://s3/{bucket.name}/lake/t"))
    assert SECRET not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def put_local(lake: Lake, put: Callable[[str, bytes], Any]) -> None:
    for path in lake.folder.rglob("*"):
        if path.is_file():
            put(f"lake/t/{path.relative_to(lake.folder)}", path.read_bytes())


def check_both(address: str) -> None:
    provider = DeltaProvider()
    version = provider.resolve(parse(f"delta://{address}/lake/t@0"))
    manifest = provider.manifest(version)
    found = provider.check_files(version, manifest.entries, manifest, read=False)
    assert found is not None
    assert (found.files, found.by, found.weakly) == (1, "size and date", 1)
    assert provider.table(version, "arrow").num_rows == 3


def test_a_table_in_google_cloud_storage(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with gcs_server() as address:
        google = new_google_bucket(address, versions=False)
        for name, value in google.variables.items():
            monkeypatch.setenv(name, value)
        put_local(lake, google.put)
        check_both(f"gs://{google.name}")


def test_a_table_in_azure(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with azure_server() as address:
        container = new_azure_container(address)
        for name, value in container.variables.items():
            monkeypatch.setenv(name, value)
        put_local(lake, container.put)
        check_both(f"az://{container.name}")


def test_what_is_not_there_is_said_without_secrets(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="no Delta table"):
        DeltaProvider().resolve(parse(f"delta://s3/{bucket.name}/none"))
    write(bucket, [1])
    bucket.put("lake/t/_delta_log/" + "1".zfill(20) + ".json", b'{"add":{"path":')
    with pytest.raises(DsverError) as caught:
        DeltaProvider().resolve(parse(f"delta://s3/{bucket.name}/lake/t"))
    assert SECRET not in str(caught.value)
