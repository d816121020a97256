"""What verifying a run says after each thing that can happen to the objects that it used.

The run's record is real (MLflow on SQLite), and so are the bucket's answers. `--full` reads every byte.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from object_servers import Bucket, faulty

import mlflow_dsver as dsver
from mlflow_dsver.checks.reports import InputReport, Verdict


@dataclass
class World:
    """A run that used a snapshot of two objects."""

    bucket: Bucket
    run_id: str

    def check(self, depth: str = "default") -> InputReport:
        (found,) = dsver.verify(self.run_id, depth=depth).inputs
        return found


CONTENT = {"data/a.txt": b"meow", "data/b/c.bin": bytes(range(256)) * 20}


def used(bucket: Bucket, **options: Any) -> World:
    for key, content in CONTENT.items():
        bucket.put(key, content, **options)
    with dsver.start_run(inputs={"training": f"s3://{bucket.name}/data?create"}) as run:
        pass
    return World(bucket, run.info.run_id)


def overwritten(bucket: Bucket) -> None:
    bucket.put("data/a.txt", b"woof")


def deleted(bucket: Bucket) -> None:
    bucket.delete("data/a.txt")


def deleted_for_ever(bucket: Bucket) -> None:
    """As a lifecycle rule does with a version that is no longer the newest."""
    bucket.put("data/a.txt", b"woof")
    found = bucket.client.list_object_versions(Bucket=bucket.name, Prefix="data/a.txt")["Versions"]
    bucket.delete("data/a.txt", next(each["VersionId"] for each in found if not each["IsLatest"]))


def restored(bucket: Bucket) -> None:
    bucket.delete("data/a.txt")
    bucket.restore("data/a.txt")


def written_again_with_the_same_bytes(bucket: Bucket) -> None:
    """The same size and ETag, at another time."""
    time.sleep(1.1)
    bucket.put("data/a.txt", b"meow")


def uploaded_in_parts(bucket: Bucket) -> None:
    """The same bytes, with the ETag of a multipart upload."""
    client, name = bucket.client, bucket.name
    begun = client.create_multipart_upload(Bucket=name, Key="data/a.txt")["UploadId"]
    part = client.upload_part(Bucket=name, Key="data/a.txt", UploadId=begun, PartNumber=1, Body=b"meow")
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    client.complete_multipart_upload(Bucket=name, Key="data/a.txt", UploadId=begun, MultipartUpload=parts)


def copied_over(bucket: Bucket) -> None:
    """A server-side copy of another object onto it."""
    bucket.put("other", b"purr")
    bucket.client.copy_object(
        Bucket=bucket.name, Key="data/a.txt", CopySource={"Bucket": bucket.name, "Key": "other"}
    )


def made_anew(bucket: Bucket) -> None:
    """The bucket is deleted and made again with the same objects."""
    bucket.remove()
    time.sleep(1.1)
    bucket.client.create_bucket(Bucket=bucket.name)
    if bucket.versions:
        bucket.client.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    for key, content in CONTENT.items():
        bucket.put(key, content)


def added_to(bucket: Bucket) -> None:
    """A new object is no part of the snapshot."""
    bucket.put("data/new", b"new")


MATCH, CHANGED, MISSING, UNKNOWN = Verdict.MATCH, Verdict.CHANGED, Verdict.MISSING, Verdict.UNVERIFIABLE


@pytest.mark.usefixtures("tracking")
@pytest.mark.parametrize(
    ("event", "with_versions", "without"),
    [
        (added_to, MATCH, MATCH),
        (overwritten, MATCH, CHANGED),
        (deleted, MATCH, MISSING),
        (deleted_for_ever, MISSING, None),
        (restored, MATCH, None),
        (written_again_with_the_same_bytes, MATCH, UNKNOWN),
        (uploaded_in_parts, MATCH, CHANGED),
        (copied_over, MATCH, CHANGED),
        (made_anew, MISSING, UNKNOWN),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_each_event_has_its_verdict(
    bucket: Bucket,
    another_bucket: Callable[[], Bucket],
    event: Callable[[Bucket], None],
    with_versions: Verdict,
    without: Verdict | None,
) -> None:
    world = used(bucket)
    event(bucket)
    found = world.check()
    assert (found.verdict, found.grade.letter) == (with_versions, "B")
    if with_versions is MISSING:
        assert "data/a.txt" in str(found.findings) or "a.txt" in found.findings[0].paths
        assert world.check("full").verdict is MISSING
    else:
        assert world.check("full").verdict is MATCH
    if without is None:
        return
    world = used(another_bucket())
    event(world.bucket)
    found = world.check()
    assert (found.verdict, found.grade.letter) == (without, "C")


@pytest.mark.usefixtures("tracking")
def test_the_same_bytes_by_sha256_match_although_written_again(plain_bucket: Bucket) -> None:
    world = used(plain_bucket, ChecksumAlgorithm="SHA256")
    time.sleep(1.1)
    plain_bucket.put("data/a.txt", b"meow", ChecksumAlgorithm="SHA256")
    assert world.check().verdict is MATCH
    plain_bucket.put("data/a.txt", b"woof", ChecksumAlgorithm="SHA256")
    assert world.check().verdict is CHANGED


@pytest.mark.usefixtures("tracking")
def test_verifying_by_version_ids_gets_no_data(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    world = used(bucket)
    with faulty(bucket.endpoint, lambda *_: None) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert world.check().verdict is MATCH
    assert seen
    assert not [request for request in seen if request.startswith("GET")]


@pytest.mark.usefixtures("tracking")
@pytest.mark.parametrize(
    ("status", "verdict"),
    [(403, UNKNOWN), (404, MISSING), (503, UNKNOWN), (500, UNKNOWN)],
)
def test_one_object_that_is_not_answered_for_is_no_match(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, status: int, verdict: Verdict
) -> None:
    """Such as a permission that was taken away for one key."""
    world = used(bucket)
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "2")

    def fault(method: str, path: str, headers: Any) -> tuple[int, bytes] | None:
        return (status, b"") if "a.txt" in path else None

    with faulty(bucket.endpoint, fault) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        found = world.check()
    assert found.verdict is verdict
    assert "a.txt" in found.findings[0].paths


@pytest.mark.usefixtures("tracking")
def test_a_store_that_does_not_answer_is_unreachable_soon(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """After as many unanswered requests as are sent at once, the others are not sent."""
    for number in range(200):
        bucket.put(f"data/{number:03}", b"x")
    world = used(bucket)
    monkeypatch.setenv("MLFLOW_DSVER_PROVIDER_TIMEOUT", "1")
    with faulty(bucket.endpoint, lambda *_: (503, b"")) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert world.check().verdict is Verdict.UNREACHABLE
    assert len({request.partition("?")[0] for request in seen}) <= 2 * 32 + 1


@pytest.mark.usefixtures("tracking")
def test_bytes_that_the_store_changed_are_found_by_reading_them(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that answers for the version id and gives other bytes."""
    world = used(bucket)

    def fault(method: str, path: str, headers: Any) -> bytes | None:
        return b"woof" if method == "GET" and "a.txt" in path else None

    with faulty(bucket.endpoint, fault) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert world.check().verdict is MATCH
        found = world.check("full")
    assert found.verdict is CHANGED
    assert found.findings[0].paths == ("a.txt",)


@pytest.mark.usefixtures("tracking")
def test_a_run_is_verified_without_the_catalog_by_its_own_manifest(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    world = used(bucket)
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("another machine")))
    assert world.check().verdict is MATCH
    assert world.check("full").verdict is MATCH
    assert world.check("metadata").verdict is Verdict.UNREACHABLE
    deleted_for_ever(bucket)
    assert world.check().verdict is MISSING


@pytest.mark.usefixtures("tracking")
def test_a_sample_is_read_and_says_what_it_proves(bucket: Bucket) -> None:
    world = used(bucket)
    (found,) = dsver.verify(world.run_id, depth="sample").inputs
    assert found.verdict is MATCH
    assert "drawn at random" in str(found.statement) or "all 2 files" in str(found.statement)
