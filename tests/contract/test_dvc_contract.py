"""The provider of DVC keeps the contract of providers, on repositories as DVC 3 and DVC 2 make them."""

from __future__ import annotations

import pytest
from dvc_repositories import DvcCheckout

from mlflow_dsver.providers.dvc import DvcProvider
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract


class TestDvc(ProviderContract):
    legacy = False

    @pytest.fixture
    def provider(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Provider:
        monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
        return DvcProvider()

    @pytest.fixture
    def known(self, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Known:
        checkout = DvcCheckout(tmp_path_factory.mktemp("work") / "repository", legacy=self.legacy)
        checkout.add("data/digits", {"labels.csv": b"file,label\r\n0,7\r\n", "images/\xfc 1.bin": bytes(range(256))})
        old = checkout.commit("first labels")
        checkout.git("tag", "clean")
        checkout.add("data/digits", {"labels.csv": b"file,label\r\n0,9\r\n", "images/\xfc 1.bin": bytes(range(256))})
        new = checkout.commit("relabelled")
        checkout.write("notes.txt", "not data")
        checkout.commit("notes")
        return Known(f"file{checkout.folder}/data/digits", (new, old), tag=("clean", old))


class TestDvc2(TestDvc):
    """Whose MD5 of a text leaves line ends out, and so is none of the bytes."""

    legacy = True
