"""The providers of Google Cloud Storage and Azure keep the contract of providers, on servers on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from object_servers import (
    AzureContainer,
    GoogleBucket,
    azure_server,
    gcs_server,
    new_azure_container,
    new_google_bucket,
)

from mlflow_dsver.errors import CorruptObject, NotFound
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.buckets import AzProvider, GsProvider
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract


class ObjectContract(ProviderContract):
    """A dataset with two snapshots, of which the older has a tag."""

    container: str

    def put(self, key: str, content: bytes) -> None:
        raise NotImplementedError

    @pytest.fixture
    def known(self, provider: Provider) -> Known:
        dataset = f"{self.container}/digits"
        self.put("digits/labels.csv", b"file,label\n0,7\n")
        self.put("digits/images/0 ü+.bin", bytes(range(256)))
        old = provider.create(dataset, tags=("clean",))
        self.put("digits/labels.csv", b"file,label\n0,9\n")
        self.put("digits/images/empty", b"")
        new = provider.create(dataset)
        return Known(dataset, (new.id, old.id), tag=("clean", old.id))

    def make(self, provider: Provider, dataset: str, folder: Path, **words: Any) -> DatasetVersion:
        self.put(f"digits/{folder.name}.csv", b"file,label\n")
        return provider.create(dataset, **words)


@pytest.fixture(scope="module")
def gs() -> Iterator[str]:
    with gcs_server() as address:
        yield address


class GsContract(ObjectContract):
    keeps_versions: bool
    bucket: GoogleBucket

    def put(self, key: str, content: bytes) -> None:
        self.bucket.put(key, content)

    @pytest.fixture
    def provider(
        self, gs: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
    ) -> Provider:
        self.bucket = new_google_bucket(gs, versions=self.keeps_versions)
        self.container = self.bucket.name
        monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", gs)
        return GsProvider()


class TestGsWithVersions(GsContract):
    keeps_versions = True

    def test_an_overwritten_object_is_had_as_it_was(self, provider: Provider, known: Known) -> None:
        """By its generation, and the grade says so."""
        older = provider.get(known.dataset, known.versions[1])
        assert (provider.path(older) / "labels.csv").read_bytes() == b"file,label\n0,7\n"
        assert str(provider.grade(older)) == "B (immutable by GCS generation)"


class TestGsWithoutVersions(GsContract):
    keeps_versions = False

    def test_an_overwritten_object_is_changed_and_a_deleted_one_missing(
        self, provider: Provider, known: Known
    ) -> None:
        """The generation is gone in both cases; what is there now tells which."""
        older = provider.get(known.dataset, known.versions[1])
        assert provider.grade(older).letter == "C"
        with pytest.raises(NotFound, match=r"labels\.csv"):
            provider.path(older)
        manifest = provider.manifest(older)
        assert manifest is not None
        found = provider.check_files(older, manifest.entries, manifest, read=False)
        assert found is not None
        assert (found.missing, found.changed) == ((), ("labels.csv",))
        self.bucket.delete("digits/labels.csv")
        found = provider.check_files(older, manifest.entries, manifest, read=False)
        assert found is not None
        assert (found.missing, found.changed) == (("labels.csv",), ())


@pytest.fixture(scope="module")
def az() -> Iterator[str]:
    with azure_server() as address:
        yield address


class TestAz(ObjectContract):
    blobs: AzureContainer

    def put(self, key: str, content: bytes) -> None:
        self.blobs.put(key, content)

    @pytest.fixture
    def provider(
        self, az: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
    ) -> Provider:
        monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
        self.blobs = new_azure_container(az)
        self.container = self.blobs.name
        for name, value in self.blobs.variables.items():
            monkeypatch.setenv(name, value)
        return AzProvider()

    def test_an_overwritten_blob_is_changed_and_never_served(self, provider: Provider, known: Known) -> None:
        """Azurite keeps no versions of blobs; the cloud does where it is switched on, which was not tried."""
        older = provider.get(known.dataset, known.versions[1])
        assert provider.grade(older).letter == "C"
        with pytest.raises(CorruptObject, match=r"labels\.csv"):
            provider.path(older)
