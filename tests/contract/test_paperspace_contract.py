"""The Paperspace provider keeps the provider contract under every answer to every question that the documents leave
open, one at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.errors import ProviderError
from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.paperspace import PaperspaceProvider, paging
from mlflow_dsver.providers.paperspace.emulator import SWITCHES, PaperspaceEmulator
from mlflow_dsver.providers.paperspace.local_files import Roots
from mlflow_dsver.testing import Known, ProviderContract

SETTINGS = [("as by default", "")] + [(each.name, setting) for each in SWITCHES for setting in each.settings[1:]]
KEY = "emulated-key-0123456789"


@pytest.fixture(params=SETTINGS, ids=lambda pair: "=".join(pair))
def setting(request: pytest.FixtureRequest) -> tuple[str, str]:
    """A switch and one of its settings."""
    return request.param


@pytest.fixture
def emulator(setting: tuple[str, str]) -> Iterator[PaperspaceEmulator]:
    """The emulator with one switch set otherwise than by default."""
    name, value = setting
    with PaperspaceEmulator(key=KEY, switches={name: value} if value else {}) as emulator:
        yield emulator


class TestPaperspaceProvider(ProviderContract):
    @pytest.fixture(autouse=True)
    def small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Two versions a page, so that every listing has several."""
        monkeypatch.setattr(paging, "PAGE", 2)

    @pytest.fixture
    def edits_refused(self, setting: tuple[str, str]) -> bool:
        """Whether a committed version cannot be edited: versions are left uncommitted then."""
        return setting[0] == "edit-committed"

    @pytest.fixture
    def provider(
        self, emulator: PaperspaceEmulator, edits_refused: bool, tmp_path_factory: pytest.TempPathFactory
    ) -> PaperspaceProvider:
        folder = tmp_path_factory.mktemp("bytes") / "cats"
        folder.mkdir()
        (folder / "cat.txt").write_text("meow")
        return PaperspaceProvider(
            key=KEY,
            base=emulator.base,
            timeout=20,
            allow_uncommitted=edits_refused,
            paths={"dst364npcw6ccok@1rn19s2": folder, "dst364npcw6ccok": folder},
            roots=Roots((), ()),
        )

    @pytest.fixture
    def known(self, emulator: PaperspaceEmulator, edits_refused: bool) -> Known:
        dataset = emulator.add_dataset("cats", dataset_id="dst364npcw6ccok")
        emulator.add_dataset("dogs")
        for name, tags in (("klfoyy9", ""), ("fo5rp4m", "clean"), ("1rn19s2", "")):
            emulator.add_version(dataset, version=name, tags=tags, size=4, committed=not edits_refused)
        return Known(dataset, ("1rn19s2", "fo5rp4m", "klfoyy9"), tag=("clean", "fo5rp4m"))

    def make(self, provider: Any, dataset: str, folder: Path, **words: Any) -> DatasetVersion:
        """A version here is made uncommitted, and committed when its files are there."""
        folder.mkdir(parents=True)
        (folder / "cat.txt").write_text("meow")
        made = provider.create(dataset, folder, reference=True, **words)
        return made if provider._allow_uncommitted else provider.commit(made)

    def test_files_are_those_of_the_manifest(self, provider: Any, known: Known, tmp_path: Path) -> None:
        """The files are known once they were hashed here, and then `path` and `materialise` give these very files."""
        version = provider.get(known.dataset, known.versions[0])
        assert provider.manifest(version) is None
        identified = provider.identify(version)
        manifest = provider.manifest(identified)
        assert manifest.digest == identified.content_digest
        assert (provider.path(identified) / "cat.txt").read_text() == "meow"
        provider.materialise(identified, tmp_path / "new" / "folder")
        assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["cat.txt"]

    def test_tags_are_added_moved_and_removed(self, provider: Any, known: Known, setting: tuple[str, str]) -> None:
        """As everywhere; where the service keeps the last tag, that is a clear error and changes nothing."""
        if setting != ("empty-tags", "400"):
            super().test_tags_are_added_moved_and_removed(provider, known)
            return
        version = provider.get(known.dataset, "fo5rp4m")
        with pytest.raises(ProviderError, match="last tag"):
            provider.update(version, remove_tags=("clean",))
        assert provider.get(known.dataset, "fo5rp4m").tags == ("clean",)
        assert provider.update(version, add_tags=("other",), remove_tags=("clean",)).tags == ("other",)
