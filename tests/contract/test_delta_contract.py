"""The provider of Delta tables keeps the contract of providers, on a real table in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("deltalake", reason="the extra [delta] is not installed")

import pyarrow
from deltalake import write_deltalake

from mlflow_dsver.providers.delta import DeltaProvider
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract


class TestDeltaInAFolder(ProviderContract):
    @pytest.fixture
    def provider(self) -> Provider:
        return DeltaProvider()

    @pytest.fixture
    def known(self, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Known:
        folder: Path = tmp_path_factory.mktemp("lake") / "digits"
        rows = pyarrow.table({"id": [1, 2, 3], "part": ["a", "b", "ü /x"]})
        for mode in ("error", "append"):
            write_deltalake(folder.as_uri(), rows, mode=mode, partition_by=["part"])
        dataset = f"file{folder}"
        return Known(dataset, tuple(each.id for each in provider.versions(dataset)))
