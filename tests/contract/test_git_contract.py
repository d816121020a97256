"""The provider of git repositories keeps the contract of providers, with real repositories on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from git_repositories import Checkout

from mlflow_dsver.providers.git import GitProvider
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract


class TestGit(ProviderContract):
    below = "data"

    @pytest.fixture
    def provider(self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Provider:
        monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
        return GitProvider()

    @pytest.fixture
    def known(self, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Known:
        checkout = Checkout(tmp_path_factory.mktemp("work") / "repository")
        checkout.write("data/labels.csv", "file,label\n0,7\n")
        checkout.write("data/images/ü 1.bin", bytes(range(256)))
        old = checkout.commit("first labels\n\nby hand")
        checkout.git("tag", "--annotate", "clean", "--message", "checked")
        checkout.write("data/labels.csv", "file,label\n0,9\n")
        (checkout.folder / "data" / "link.csv").symlink_to("labels.csv")
        new = checkout.commit("relabelled")
        checkout.write("other/notes.txt", "not data")
        checkout.commit("notes")
        name = str(checkout.folder / self.below).strip("/")
        return Known(f"file/{name}", (new, old), tag=("clean", old))


class TestGitRoot(TestGit):
    """A whole repository, in which the newest commit counts as well."""

    below = ""

    @pytest.fixture
    def known(self, provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Known:
        checkout = Checkout(tmp_path_factory.mktemp("work") / "repository")
        checkout.write("a", "a")
        old = checkout.commit("first")
        checkout.git("tag", "clean")
        checkout.write("b", "b")
        new = checkout.commit("second")
        bare = Path(f"{checkout.folder}-bare")
        checkout.git("clone", "--quiet", "--bare", str(checkout.folder), str(bare))
        return Known(f"file/{str(bare).strip('/')}", (new, old), tag=("clean", old))
