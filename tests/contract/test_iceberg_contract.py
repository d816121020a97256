"""The provider of Iceberg tables keeps the contract of providers, with a real catalog in SQLite."""

from __future__ import annotations

import pytest
from iceberg_tables import IcebergTable

from mlflow_dsver.providers.iceberg import IcebergProvider
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract

pytestmark = pytest.mark.filterwarnings("ignore")  # those of pyiceberg's own code


class TestIceberg(ProviderContract):
    @pytest.fixture
    def provider(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Provider:
        monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
        self.made = IcebergTable(tmp_path_factory.mktemp("lake"), monkeypatch)
        return IcebergProvider()

    @pytest.fixture
    def known(self, provider: Provider) -> Known:
        first, second = self.made.append(("tom", 3), ("kitty", 5)), self.made.append(("felix", 1))
        self.made.tag("clean", first)
        digits = self.made.table.metadata.table_uuid.hex[:12]
        ids = [f"{each}-{digits}" for each in (second, first)]
        return Known(self.made.dataset, tuple(ids), tag=("clean", ids[1]))
