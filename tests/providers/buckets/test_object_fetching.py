"""Fetching exactly the recorded object versions: whole or not at all, resumable, and as a stream."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from object_servers import Bucket, faulty

from mlflow_dsver.errors import CorruptObject, InvalidArgument, NotFound, PermissionDenied, ProviderUnavailable
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers import file_fetching, file_streams
from mlflow_dsver.providers.buckets import S3Provider, connect

LARGE = 40 << 20
CONTENT = {"a.txt": b"meow", "empty": b"", "deep/ü 1.bin": bytes(range(256)) * 5}


def snapshot(bucket: Bucket, provider: S3Provider, content: dict[str, bytes] = CONTENT, **how: Any) -> DatasetVersion:
    for name, data in content.items():
        bucket.put(f"data/{name}", data, **how)
    return provider.create(f"{bucket.name}/data")


def files_of(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "dsver-home")


def test_overwritten_and_deleted_objects_are_had_as_they_were(
    bucket: Bucket, provider: S3Provider, tmp_path: Path
) -> None:
    version = snapshot(bucket, provider)
    bucket.put("data/a.txt", b"woof, and longer")
    bucket.delete("data/empty")
    provider.materialise(version, tmp_path / "out")
    assert files_of(tmp_path / "out") == CONTENT
    with provider.open(version, "a.txt") as stream:
        assert stream.read() == b"meow"


def test_a_version_that_is_gone_is_named_and_nothing_is_written(
    bucket: Bucket, provider: S3Provider, tmp_path: Path
) -> None:
    version = snapshot(bucket, provider)
    manifest = provider.manifest(version)
    entry = next(each for each in manifest.entries if each.path == "a.txt")
    assert entry.evidence is not None
    bucket.put("data/a.txt", b"woof")
    bucket.delete("data/a.txt", entry.evidence.version)
    with pytest.raises(NotFound) as caught:
        provider.materialise(version, tmp_path / "out")
    assert "data/a.txt" in str(caught.value)
    assert str(entry.evidence.version) in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(NotFound, match="is gone"), provider.open(version, "a.txt") as stream:
        stream.read()


def test_an_object_that_was_overwritten_without_versions_is_never_served(
    plain_bucket: Bucket, provider: S3Provider, tmp_path: Path
) -> None:
    version = snapshot(plain_bucket, provider)
    plain_bucket.put("data/a.txt", b"woof")
    with pytest.raises(CorruptObject, match=r"data/a\.txt"):
        provider.materialise(version, tmp_path / "out")
    with pytest.raises(CorruptObject), provider.open(version, "a.txt") as stream:
        stream.read()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("algorithm", ["SHA256", "SHA1", "CRC32"])
def test_bytes_with_another_checksum_are_not_served(
    plain_bucket: Bucket, provider: S3Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    version = snapshot(plain_bucket, provider, ChecksumAlgorithm=algorithm)

    def fault(method: str, path: str, headers: Any) -> bytes | None:
        return b"woof" if method == "GET" and "a.txt" in path else None

    with faulty(plain_bucket.endpoint, fault) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(CorruptObject, match=algorithm.lower()):
            provider.materialise(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_forbidden_object_is_named(
    bucket: Bucket, provider: S3Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = snapshot(bucket, provider)

    def fault(method: str, path: str, headers: Any) -> tuple[int, bytes] | None:
        return (403, b"<Error><Code>AccessDenied</Code></Error>") if "a.txt" in path else None

    with faulty(bucket.endpoint, fault) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(PermissionDenied, match=r"data/a\.txt"):
            provider.materialise(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_second_call_goes_on_where_the_first_failed(
    bucket: Bucket, provider: S3Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large files go on at the part where they were cut off, small ones that are there are not fetched again."""
    large = os.urandom(LARGE)
    version = snapshot(bucket, provider, {**CONTENT, "large.bin": large})
    last = f"bytes={file_fetching.PART * 2}-"

    def fault(method: str, path: str, headers: Any) -> tuple[int, bytes] | None:
        named = {name.lower(): value for name, value in headers.items()}
        return (403, b"") if named.get("range", "").startswith(last) else None

    with faulty(bucket.endpoint, fault) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(PermissionDenied):
            provider.materialise(version, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with faulty(bucket.endpoint, lambda *_: None) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        provider.materialise(version, tmp_path / "out")
    assert len([each for each in seen if "large.bin" in each]) == 1, seen
    assert files_of(tmp_path / "out") == {**CONTENT, "large.bin": large}
    assert leftovers(tmp_path) == ["out"]


def test_large_files_with_long_names_that_begin_alike_are_not_mixed_up(
    bucket: Bucket, provider: S3Provider, tmp_path: Path
) -> None:
    content = {f"{'long' * 30}-{number}": os.urandom(file_fetching.PART + 1) for number in range(3)}
    provider.materialise(snapshot(bucket, provider, content), tmp_path / "out")
    assert files_of(tmp_path / "out") == content


def test_a_store_that_gives_another_version_than_was_asked_for_is_not_believed(
    bucket: Bucket, provider: S3Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Azurite does, which ignores the version in a request."""
    version = snapshot(bucket, provider)
    bucket.put("data/a.txt", b"woof")

    def without_version(path: str) -> str:
        return path.partition("?versionId")[0]

    with faulty(bucket.endpoint, lambda *_: None, rewrite=without_version) as (address, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(CorruptObject, match="version"):
            provider.materialise(version, tmp_path / "out")
        manifest = provider.manifest(version)
        found = provider.check_files(version, manifest.entries, manifest, read=False)
    assert found.unknown == ("a.txt",)


@pytest.mark.faults
def test_a_killed_fetch_leaves_no_target_and_the_next_call_finishes_it(
    bucket: Bucket, provider: S3Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {f"{number:03}": os.urandom(100) for number in range(60)}
    version = snapshot(bucket, provider, names)
    count = iter(range(1000))

    def fault(method: str, path: str, headers: Any) -> tuple[int, bytes] | None:
        if next(count) == 30:
            child.kill()
        return None

    script = f"""
        from pathlib import Path
        from mlflow_dsver import get_provider, parse
        ref = parse({str(version.ref)!r})
        provider = get_provider("s3")
        provider.materialise(provider.resolve(ref), Path({str(tmp_path / "out")!r}))
    """
    with faulty(bucket.endpoint, fault) as (address, _):
        environment = {**os.environ, "AWS_ENDPOINT_URL": address}
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], env=environment)
        assert child.wait(120) == -9
    assert not (tmp_path / "out").exists()
    provider.materialise(version, tmp_path / "out")
    assert files_of(tmp_path / "out") == names
    assert leftovers(tmp_path) == ["out"]


def test_path_gives_the_same_checked_folder_again(
    bucket: Bucket, provider: S3Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = snapshot(bucket, provider)
    folder = provider.path(version)
    with faulty(bucket.endpoint, lambda *_: None) as (address, seen):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        assert provider.path(version) == folder
    assert seen == [], "what was fetched before is not fetched again"
    (folder / "a.txt").write_bytes(b"woof")
    with pytest.raises(CorruptObject, match="changed"):
        provider.path(version)


def test_materialise_refuses_names_that_no_file_can_have(
    bucket: Bucket, provider: S3Provider, tmp_path: Path
) -> None:
    version = snapshot(bucket, provider, {"n" * 300: b"x"})
    with pytest.raises(InvalidArgument, match="too long"):
        provider.materialise(version, tmp_path / "out")
    with provider.open(version, "n" * 300) as stream:
        assert stream.read() == b"x"


def test_a_stream_reads_and_seeks_like_a_file(bucket: Bucket, provider: S3Provider, tmp_path: Path) -> None:
    content = os.urandom(file_streams.BLOCK * 2 + 100)
    version = snapshot(bucket, provider, {"x": content})
    copy = tmp_path / "copy"
    copy.write_bytes(content)
    with provider.open(version, "x") as stream, copy.open("rb") as file:
        for offset, whence, size in (
            (0, 0, 10), (5, 1, 7), (-20, 2, 30), (0, 2, 5), (file_streams.BLOCK - 3, 0, 10), (0, 0, -1),
        ):  # fmt: skip
            assert stream.seek(offset, whence) == file.seek(offset, whence)
            assert stream.read(size) == file.read(size)
            assert stream.tell() == file.tell()
        with pytest.raises(ValueError, match="before"):
            stream.seek(-1)


def test_a_table_is_read_from_a_stream(bucket: Bucket, provider: S3Provider) -> None:
    import pandas as pd

    version = snapshot(bucket, provider, {"t.csv": b"a,b\n1,2\n3,4\n"})
    with provider.open(version, "t.csv") as stream:
        assert pd.read_csv(stream)["b"].tolist() == [2, 4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_worker_reads_what_its_parent_read_and_never_hangs(bucket: Bucket, tmp_path: Path) -> None:
    """As PyTorch's DataLoader starts its workers: obstore's threads are not copied, and it would wait for ever."""
    provider = S3Provider()
    large = os.urandom(file_streams.BLOCK + 5)
    version = snapshot(bucket, provider, {**CONTENT, "large": large})
    script = f"""
        import multiprocessing, sys
        from mlflow_dsver import get_provider, parse
        provider = get_provider("s3")
        version = provider.resolve(parse({str(version.ref)!r}))

        def read(name):
            with provider.open(version, name) as stream:
                return len(stream.read())

        read("a.txt")
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert pool.map(read, ["a.txt", "empty", "large"]) == [4, 0, {len(large)}]
        provider.path(version)
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)], check=True, timeout=120)


def test_a_store_without_another_way_says_that_the_fork_is_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_used_before_fork", True)
    monkeypatch.setattr(connect, "_stores", {})
    with pytest.raises(ProviderUnavailable, match="spawn"):
        connect.object_store(connect.Location("gs", "bucket", ""))
