"""A version's files from the team's own bucket, read from a real S3 server on loopback."""

from __future__ import annotations

import logging
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver import settings
from mlflow_dsver.content.hashing import hash_folder
from mlflow_dsver.errors import CorruptObject, ProviderUnavailable, SettingsError, UnexpectedResponse, Unsupported
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace import PaperspaceProvider, bucket
from mlflow_dsver.providers.paperspace import provider as provider_module
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator

CATS = "dst364npcw6ccok"
SECRET = "bucket-secret-0123456789"
FILES = {"a.txt": b"meow", "deep/ü 1.bin": bytes(range(256)) * 50_000, "empty": b""}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of moto's S3 server."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from moto.server import ThreadedMotoServer
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()


@pytest.fixture
def keys(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "bucket-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def version(s3: str, emulator: PaperspaceEmulator, provider: PaperspaceProvider) -> Iterator[DatasetVersion]:
    """A version whose files lie in the bucket of its address."""
    emulator.sizes[f"{CATS}:fo5rp4m"] = sum(map(len, FILES.values()))
    found = provider.get(CATS, "fo5rp4m")
    team = "tewr3st2z"
    store = put(
        s3, team, {f"{team}/datasets/{CATS}/versions/fo5rp4m/data/{name}": data for name, data in FILES.items()}
    )
    yield found
    store.delete([each["path"] for batch in store.list() for each in batch])


def put(s3: str, name: str, objects: dict[str, bytes]) -> Any:
    from obstore.store import S3Store

    urllib.request.urlopen(urllib.request.Request(f"{s3}/{name}", method="PUT")).close()
    options = {"allow_http": True}
    store = S3Store(
        name, endpoint=s3, access_key_id="k", secret_access_key="s", region="us-east-1", client_options=options
    )
    for key, data in objects.items():
        store.put(key, data)
    return store


def folder_with(path: Path) -> Path:
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def test_files_come_from_the_bucket_once_and_are_checked(
    keys: None, provider: PaperspaceProvider, version: DatasetVersion, tmp_path: Path, s3: str, monkeypatch: Any
) -> None:
    """The same bytes under the same paths; fetched once; hashed each time; a damaged copy is not served."""
    expected = hash_folder(folder_with(tmp_path / "expected")).digest
    folder = provider.path(version)
    assert hash_folder(folder).digest == expected
    identified = provider.identify(version)
    assert (identified.content_digest, str(provider.grade(identified))) == (expected, "A")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert provider.path(version) == folder
    provider.materialise(version, tmp_path / "copy")
    assert hash_folder(tmp_path / "copy").digest == expected
    (folder / "a.txt").write_bytes(b"mEow")
    with pytest.raises(CorruptObject, match="not what it should be"):
        provider.path(version)


def test_without_keys_there_is_a_tip_and_no_request(provider: PaperspaceProvider, version: DatasetVersion) -> None:
    with pytest.raises(Unsupported, match="AWS_ACCESS_KEY_ID"):
        provider.path(version)


def test_files_that_contradict_the_claimed_digest_are_not_served(
    keys: None, emulator: PaperspaceEmulator, provider: PaperspaceProvider, version: DatasetVersion, tmp_path: Path
) -> None:
    """The uploader lost a file, and the version was committed all the same."""
    folder = folder_with(tmp_path / "whole")
    made = provider.create(CATS, folder, reference=True)
    (folder / "lost.txt").write_text("not uploaded")
    claimed = provider.create(CATS, folder, reference=True)
    provider_module._created_from.clear()
    for each in (made, claimed):
        emulator.versions[CATS][each.id]["url"] = version.raw["url"].replace("fo5rp4m", each.id)
    source = f"tewr3st2z/datasets/{CATS}/versions/"
    put_again = {f"{source}{each.id}/data/{name}": data for each in (made, claimed) for name, data in FILES.items()}
    put(settings.text("AWS_ENDPOINT_URL") or "", "tewr3st2z", put_again)
    emulator.sizes[f"{CATS}:{made.id}"] = sum(map(len, FILES.values()))
    assert provider.path(provider.get(CATS, made.id))
    with pytest.raises(CorruptObject):
        provider.path(provider.get(CATS, claimed.id))


def test_name_that_leaves_its_folder_is_refused(
    keys: None, provider: PaperspaceProvider, s3: str, emulator: Any
) -> None:
    """Whatever a bucket holds, nothing is written outside, and nothing is left behind."""
    made = emulator.add_version(CATS, version="hostile")
    emulator.versions[CATS][made]["url"] = f"s3://hostile-bucket/x/{made}"
    put(s3, "hostile-bucket", {})
    url = f"{s3}/hostile-bucket/x/{made}/data/x%2F..%2F..%2F..%2Fevil.txt"
    urllib.request.urlopen(urllib.request.Request(url, data=b"evil", method="PUT")).close()
    with pytest.raises((UnexpectedResponse, ProviderUnavailable, CorruptObject)):
        provider.path(provider.get(CATS, made))
    assert not list(settings.home().rglob("evil.txt"))
    assert not [each for each in (settings.home() / "cache").rglob("*") if each.name.endswith(".tmp")]


@pytest.mark.parametrize(
    "url",
    ["s3://b/t/datasets/d/versions/another", "s3://b/../versions/fo5rp4m", "s3:///x/fo5rp4m", "s3://b/a//fo5rp4m"],
)
def test_address_that_is_not_the_versions_is_refused(
    keys: None, emulator: PaperspaceEmulator, provider: PaperspaceProvider, url: str
) -> None:
    emulator.versions[CATS]["fo5rp4m"]["url"] = url
    with pytest.raises(UnexpectedResponse, match="address of the files"):
        provider.path(provider.get(CATS, "fo5rp4m"))


@pytest.mark.parametrize("url", [None, "https://elsewhere.example/x", "file:///etc", "http://169.254.169.254/"])
def test_other_kinds_of_addresses_are_never_followed(
    keys: None, emulator: PaperspaceEmulator, provider: PaperspaceProvider, url: str | None
) -> None:
    emulator.versions[CATS]["fo5rp4m"]["url"] = url
    with pytest.raises(Unsupported):
        provider.path(provider.get(CATS, "fo5rp4m"))


def test_bucket_that_does_not_answer_or_is_empty(
    keys: None,
    s3: str,
    provider: PaperspaceProvider,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Clear errors, and the keys of the bucket are in none of them."""
    caplog.set_level(logging.DEBUG)
    put(s3, "tewr3st2z", {})
    with pytest.raises(CorruptObject, match="no file"):
        provider.path(provider.get(CATS, "klfoyy9"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(ProviderUnavailable, match="bucket cannot be read") as caught:
        provider.path(provider.get(CATS, "klfoyy9"))
    assert SECRET not in str(caught.value) + repr(caught.value.__cause__) + caplog.text


def test_user_and_password_of_the_endpoint_are_in_no_error(
    keys: None, provider: PaperspaceProvider, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The object store's own error quotes the whole address."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://endpoint-user:endpoint-password@127.0.0.1:1")
    with pytest.raises(ProviderUnavailable, match="bucket cannot be read") as caught:
        provider.path(provider.get(CATS, "klfoyy9"))
    told = str(caught.value) + repr(caught.value.__cause__) + caplog.text
    assert "endpoint-user" not in told
    assert "endpoint-password" not in told


def test_missing_library_is_named(
    keys: None, provider: PaperspaceProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(SettingsError, match=r"mlflow-dsver\[s3\]"):
        provider.path(version)


def test_large_file_comes_in_parts(
    keys: None, provider: PaperspaceProvider, version: DatasetVersion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bucket, "PART", 1 << 20)
    assert hash_folder(provider.path(version)).digest == hash_folder(folder_with(tmp_path / "expected")).digest
