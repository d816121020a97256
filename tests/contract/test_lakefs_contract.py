"""The provider of lakeFS keeps the contract of providers, whatever its documents leave open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.providers.lakefs import LakefsProvider
from mlflow_dsver.providers.lakefs.emulator import LakefsEmulator
from mlflow_dsver.testing import EMULATED_KEY, Known, ProviderContract

OTHERWISE = {"page": "2", "presign": "refused", "ranges": "ignored", "lost": "500", "stat-of-lost": "404"}


@pytest.fixture(params=[{}, OTHERWISE], ids=["defaults", "otherwise"])
def lakefs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LakefsEmulator]:
    with LakefsEmulator(key=EMULATED_KEY, switches=request.param) as emulator:
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        yield emulator


class LakefsContract(ProviderContract):
    """A repository with three commits, of which the oldest has a tag."""

    below = ""

    @pytest.fixture
    def provider(self, lakefs: LakefsEmulator) -> Provider:
        return LakefsProvider()

    @pytest.fixture
    def known(self, provider: Provider, lakefs: LakefsEmulator) -> Known:
        files = {"data/labels.csv": b"file,label\n0,7\n", "data/images/0 ü+&#?%.bin": bytes(range(256)) * 9}
        old = lakefs.commit("digits", files, "first", metadata={"source": "scan"})
        middle = lakefs.commit("digits", {"data/labels.csv": b"file,label\n0,9\n"})
        new = lakefs.commit("digits", {"data/empty": b"", "data/z.csv": b"9"}, "third")
        lakefs.tag("digits", "v1.0", old)
        if not self.below:
            return Known("digits", (new, middle, old), tag=("v1.0", old))
        lakefs.commit("digits", {"other.csv": b"1"}, "beside the folder")
        newest = lakefs.commit("digits", {"database/z.csv": b"1"}, "beside the folder as well")
        return Known("digits" + self.below, (newest, new, middle, old), tag=("v1.0", old))


class TestLakefsRepository(LakefsContract):
    pass


class TestLakefsFolder(LakefsContract):
    below = "/data"

    def test_datasets_lists_what_is_there(self, provider: Provider, known: Known) -> None:
        """Repositories are listed, not their folders."""
        assert list(provider.datasets()) == ["digits"]
