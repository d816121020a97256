"""The provider of S3 keeps the contract of providers, on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_servers import Bucket, new_bucket, s3_server

from mlflow_dsver.errors import Unsupported
from mlflow_dsver.model.holds import Hold
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.buckets import S3Provider, legal_holds
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(
    server: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    keeps_versions: bool,
) -> Bucket:
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
    made = new_bucket(server, versions=keeps_versions, lock=keeps_versions)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    return made


class S3Contract(ProviderContract):
    """A dataset with two snapshots, of which the older has a tag."""

    @pytest.fixture
    def provider(self, bucket: Bucket) -> Provider:
        return S3Provider()

    @pytest.fixture
    def known(self, provider: Provider, bucket: Bucket) -> Known:
        self.bucket = bucket
        dataset = f"{bucket.name}/digits"
        bucket.put("digits/labels.csv", b"file,label\n0,7\n")
        bucket.put("digits/images/0 ü+&.bin", bytes(range(256)))
        old = provider.create(dataset, tags=("clean",))
        bucket.put("digits/labels.csv", b"file,label\n0,9\n")
        bucket.put("digits/images/empty", b"")
        new = provider.create(dataset)
        return Known(dataset, (new.id, old.id), tag=("clean", old.id))

    def make(self, provider: Provider, dataset: str, folder: Path, **words: Any) -> DatasetVersion:
        self.bucket.put(f"digits/{folder.name}.csv", b"file,label\n")
        return provider.create(dataset, **words)


class TestS3WithVersions(S3Contract):
    @pytest.fixture
    def keeps_versions(self) -> bool:
        return True

    def test_legal_holds_are_set_and_taken_away(self, provider: Provider, known: Known) -> None:
        """Each object version is held as long as any snapshot needs it; a hold of somebody else stays."""
        new, old = (provider.get(known.dataset, each) for each in known.versions)
        labels = {version.id: _version_of(provider, version, "labels.csv") for version in (new, old)}
        image = _version_of(provider, new, "images/0 ü+&.bin")
        self.bucket.set_hold("digits/labels.csv", labels[new.id], "ON")  # somebody else's
        provider.hold(new, [Hold("note:a")])
        provider.hold(old, [Hold("note:b")])
        held = [("digits/labels.csv", labels[old.id]), ("digits/images/0 ü+&.bin", image)]
        assert all(self.bucket.is_held(*each) for each in held)
        provider.release(new, [Hold("note:a")])
        assert all(self.bucket.is_held(*each) for each in held), "the older snapshot needs them"
        provider.release(old, [Hold("note:b")])
        assert not any(self.bucket.is_held(*each) for each in held)
        assert self.bucket.is_held("digits/labels.csv", labels[new.id])

    def test_a_second_reason_asks_nothing_of_the_store(
        self, provider: Provider, known: Known, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The legal holds are on since the first one."""
        version = provider.get(known.dataset, known.versions[0])
        provider.hold(version, [Hold("note:a")])
        monkeypatch.setattr(legal_holds, "put", None)
        provider.hold(version, [Hold("note:a"), Hold("note:b")])
        assert len(provider.holds(version)) == 2

    @pytest.mark.parametrize("released", ["digits", "digits/images"])
    def test_holds_kept_beside_the_data_are_seen_by_other_prefixes(
        self, provider: Provider, known: Known, monkeypatch: pytest.MonkeyPatch, released: str
    ) -> None:
        """The snapshot of a folder and that of the folder above it have objects in common."""
        monkeypatch.setenv("MLFLOW_DSVER_SNAPSHOTS", "beside")
        both = {name: provider.create(f"{self.bucket.name}/{name}") for name in ("digits", "digits/images")}
        image = _version_of(provider, both["digits/images"], "0 ü+&.bin")
        for version in both.values():
            provider.hold(version, [Hold("note:a")])
        provider.release(both.pop(released), [Hold("note:a")])
        assert self.bucket.is_held("digits/images/0 ü+&.bin", image)
        (other,) = both.values()
        provider.release(other, [Hold("note:a")])
        assert not self.bucket.is_held("digits/images/0 ü+&.bin", image)
        assert provider.create(f"{self.bucket.name}/digits").ref.selector in {
            provider.resolve(DatasetRef("s3", f"{self.bucket.name}/digits")).id
        }

    def test_files_are_those_of_an_older_snapshot(self, provider: Provider, known: Known) -> None:
        """An object that was overwritten is still had as it was."""
        older = provider.get(known.dataset, known.versions[1])
        assert (provider.path(older) / "labels.csv").read_bytes() == b"file,label\n0,7\n"


def _version_of(provider: Provider, version: DatasetVersion, path: str) -> str:
    manifest = provider.manifest(version)
    assert manifest is not None
    evidence = next(entry.evidence for entry in manifest.entries if entry.path == path)
    assert evidence is not None
    assert evidence.version is not None
    return evidence.version


class TestS3WithoutVersions(S3Contract):
    @pytest.fixture
    def keeps_versions(self) -> bool:
        return False

    def test_held_version_is_kept_until_the_last_reason_is_gone(self, provider: Provider, known: Known) -> None:
        """Without versions and Object Lock, S3 holds nothing, and says so; no hold is noted."""
        version = provider.get(known.dataset, known.versions[0])
        with pytest.raises(Unsupported, match="Object Lock"):
            provider.hold(version, [Hold("note:a")])
        assert provider.holds(version) == ()
