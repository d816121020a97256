"""References into object storage: spellings, what is refused, and what MLflow's own sources keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlflow
import pandas as pd
import pytest
from object_servers import Bucket, faulty

import mlflow_dsver as dsver
from mlflow_dsver import settings
from mlflow_dsver.errors import AuthenticationFailed, InvalidReference, NotFound, PermissionDenied, SettingsError
from mlflow_dsver.model.refs import DatasetRef, parse
from mlflow_dsver.providers.buckets import S3Provider, connect
from mlflow_dsver.providers.buckets.connect import Location, object_store, storage_errors


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("s3://bucket/cats", DatasetRef("s3", "bucket/cats")),
        ("s3://bucket/cats/", DatasetRef("s3", "bucket/cats")),
        ("s3://bucket", DatasetRef("s3", "bucket")),
        ("s3://bucket/cats@latest", DatasetRef("s3", "bucket/cats", "latest")),
        ("s3://bucket/cats/@v1", DatasetRef("s3", "bucket/cats", "v1")),
        ("s3://bucket/a b/ü", DatasetRef("s3", "bucket/a b/ü")),
        ("s3a://bucket/cats", DatasetRef("s3", "bucket/cats")),
        ("S3N://bucket/cats", DatasetRef("s3", "bucket/cats")),
        ("gs://bucket/cats@v1", DatasetRef("gs", "bucket/cats", "v1")),
        ("gcs://bucket/cats", DatasetRef("gs", "bucket/cats")),
        ("az://container/cats", DatasetRef("az", "container/cats")),
        ("abfs://container/cats@v1", DatasetRef("az", "container/cats", "v1")),
    ],
)
def test_addresses_of_other_tools_are_references(text: str, ref: DatasetRef) -> None:
    assert parse(text) == ref
    assert parse(str(ref)) == ref


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/a?X-Amz-Signature=0123456789abcdef",
        "s3://bucket/a?x=1&x-amz-credential=AKIA0123456789",
        "https://bucket.s3.amazonaws.com/a?X-Amz-Signature=0123456789abcdef",
        "https://bucket.s3.eu-central-1.amazonaws.com/a?X-Amz-Signature=0123456789abcdef",
        "https://storage.googleapis.com/bucket/a?X-Goog-Signature=0123456789abcdef",
        "https://account.blob.core.windows.net/container/a?sv=2024-01-01&sig=0123456789abcdef",
        "gs://bucket/a?GoogleAccessId=x&Signature=0123456789abcdef",
        "az://container/a?sig=0123456789abcdef",
    ],
)
def test_a_presigned_address_is_refused_without_its_signature(text: str) -> None:
    with pytest.raises(InvalidReference, match="presigned") as caught:
        parse(text)
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["s3://", "s3:///key", "s3://bucket//key", "s3://bucket/../x", "abfs://container@account.dfs.core.windows.net/x"],
)
def test_addresses_that_name_nothing_certain_are_refused(text: str) -> None:
    with pytest.raises(InvalidReference):
        parse(text)


def test_an_address_without_a_selector_stays_with_mlflows_own_source(bucket: Bucket) -> None:
    data = mlflow.data.from_pandas(pd.DataFrame({"a": [1]}), source=f"s3://{bucket.name}/cats/train.csv")
    assert type(data.source).__name__ == "S3ArtifactDatasetSource"


@pytest.mark.filterwarnings("ignore:The specified dataset source can be interpreted:UserWarning")
def test_an_address_with_a_version_is_a_dataset_source(bucket: Bucket) -> None:
    bucket.put("cats/train.csv", b"a\n1\n")
    version = S3Provider().create(f"{bucket.name}/cats", tags=("clean",))
    for selector in ("clean", "latest", version.id):
        source = mlflow.data.from_pandas(
            pd.DataFrame({"a": [1]}), source=f"s3://{bucket.name}/cats@{selector}"
        ).source
        assert type(source).__name__ == "DatasetVersionSource"
        assert source.reference == str(version.ref)


@pytest.mark.parametrize("key", ["a@b.csv", "data@v2", "x@latest"])
def test_a_key_with_an_at_sign_that_is_no_version_is_mlflows(bucket: Bucket, key: str) -> None:
    data = mlflow.data.from_pandas(pd.DataFrame({"a": [1]}), source=f"s3://{bucket.name}/{key}")
    assert type(data.source).__name__ == "S3ArtifactDatasetSource"


def test_a_script_is_linked_by_one_line(bucket: Bucket, tracking: Any) -> None:
    bucket.put("cats/train.csv", b"a\n1\n")
    with dsver.start_run(inputs={"training": f"s3://{bucket.name}/cats?create&tag=auto"}) as run:
        linked = run.datasets["training"]
        assert linked.path().joinpath("train.csv").read_bytes() == b"a\n1\n"
        with linked.open("train.csv") as stream:
            assert pd.read_csv(stream)["a"].tolist() == [1]
    (link,) = dsver.inputs_of(run.info.run_id)
    assert str(link.grade) == "B (immutable by S3 version id)"
    assert link.version.tags == ("auto",)


def test_no_credential_and_no_endpoint_is_recorded(
    bucket: Bucket, tracking: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bucket.put("cats/train.csv", b"a\n1\n")
    with dsver.start_run(inputs={"training": f"s3://{bucket.name}/cats?create"}) as run:
        pass

    secrets = [value.encode() for name, value in bucket.variables.items() if name != "AWS_REGION"]
    files = [path for path in settings.home().parent.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret in content], path
    assert run.info.run_id


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (403, "AccessDenied", PermissionDenied),
        (403, "InvalidAccessKeyId", AuthenticationFailed),
        (404, "NoSuchKey", NotFound),
    ],
)
def test_errors_of_obstore_are_ours_without_secrets(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, status: int, code: str, error: type[Exception]
) -> None:
    import obstore

    answer: Callable[..., Any] = lambda *_: (status, f"<Error><Code>{code}</Code></Error>".encode())  # noqa: E731
    with faulty(bucket.endpoint, answer) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        place = Location("s3", bucket.name, "cats")
        with pytest.raises(error) as caught, storage_errors(place, "fetch", "cats/a"):
            obstore.get(object_store(place), "cats/a")
    shown = f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert "object-secret" not in shown
    assert "object-key-id" not in shown
    assert caught.value.__suppress_context__


def test_a_missing_client_is_one_line_that_says_what_to_install(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setattr(connect, "_stores", {})
    with pytest.raises(SettingsError, match="mlflow-dsver\\[s3\\]"):
        object_store(Location("s3", bucket.name, ""))


def test_settings_of_azure_come_from_a_connection_string(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        "DefaultEndpointsProtocol=http;AccountName=acct;AccountKey=c2VjcmV0LXZhbHVl;BlobEndpoint=http://127.0.0.1:1/acct",
    )
    store = object_store(Location("az", "container", ""))
    assert "c2VjcmV0LXZhbHVl" not in repr(store)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=c2VjcmV0LXZhbHVl")
    with pytest.raises(SettingsError) as caught:
        object_store(Location("az", "container", ""))
    assert "c2VjcmV0" not in str(caught.value)
