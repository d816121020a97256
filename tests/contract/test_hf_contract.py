"""The provider of the Hugging Face Hub keeps the contract of providers, whatever its documents leave open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_dsver.errors import NotFound
from mlflow_dsver.model.refs import DatasetRef
from mlflow_dsver.providers.hf import HfProvider
from mlflow_dsver.providers.hf.emulator import HfEmulator
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import EMULATED_KEY, Known, ProviderContract

OTHERWISE = {
    "page": "2",
    "tree-of-file": "itself",
    "short-commit": "404",
    "large-files": "here",
    "large-size": "pointer",
    "small-files": "redirect",
    "ranges": "ignored",
    "xet": "yes",
}


@pytest.fixture(params=[{}, OTHERWISE], ids=["defaults", "otherwise"])
def hub(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HfEmulator]:
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
    with HfEmulator(key=EMULATED_KEY, switches=request.param) as emulator:
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        yield emulator


class HfContract(ProviderContract):
    """A repository with three commits, of which the oldest has a tag."""

    repository = "datasets/someone/digits"
    below = ""

    @pytest.fixture
    def provider(self, hub: HfEmulator) -> Provider:
        return HfProvider()

    @pytest.fixture
    def known(self, provider: Provider, hub: HfEmulator) -> Known:
        name = self.repository
        files = {"data/labels.csv": b"file,label\n0,7\n", "data/images/0 ü+&#?%.bin": bytes(range(256)) * 9}
        old = hub.commit(name, files, "first", large=["data/images/0 ü+&#?%.bin"])
        middle = hub.commit(name, {"data/labels.csv": b"file,label\n0,9\n"})
        new = hub.commit(name, {"data/empty": b"", ".gitattributes": b"*.bin\n", "data/z.csv": b"9"}, "third")
        hub.tag(name, "v1.0/clean", old)
        return Known(name + self.below, (new, middle, old), tag=("v1.0/clean", old))


class TestHfDataset(HfContract):
    pass


@pytest.mark.parametrize("hub", [{"page": "2"}], indirect=True, ids=["pages"])
class TestHfFolderOfAModel(HfContract):
    repository = "someone/model"
    below = "/data"

    def test_unknown_dataset_raises_not_found(self, provider: Provider, known: Known) -> None:
        """Commits are those of the repository, so its versions are listed whatever folder is meant."""
        unknown = "someone/model/date"
        for ask in (
            lambda: provider.get(unknown, known.versions[0]),
            lambda: provider.resolve(DatasetRef("hf", unknown)),
            lambda: provider.resolve(DatasetRef("hf", unknown, known.versions[0])),
        ):
            with pytest.raises(NotFound, match=unknown):
                ask()
