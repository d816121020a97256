"""The local provider keeps the provider contract."""

from pathlib import Path

import pytest

from mlflow_dsver.providers.local import LocalProvider
from mlflow_dsver.testing import Known, ProviderContract


class TestLocalProvider(ProviderContract):
    @pytest.fixture
    def provider(self, tmp_path_factory: pytest.TempPathFactory) -> LocalProvider:
        return LocalProvider(tmp_path_factory.mktemp("local") / "store")

    @pytest.fixture
    def known(self, provider: LocalProvider, tmp_path_factory: pytest.TempPathFactory) -> Known:
        folder: Path = tmp_path_factory.mktemp("known")
        ids = []
        for number in range(3):
            (folder / "labels.csv").write_text(f"7,{number}")
            tags = ("clean",) if number == 1 else ()
            ids.append(provider.create("digits/val", folder, tags=tags).id)
        return Known("digits/val", tuple(reversed(ids)), tag=("clean", ids[1]))
