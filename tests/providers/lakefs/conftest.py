"""The emulator of lakeFS with the variables of its tools, and what the tests have in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_dsver.providers.lakefs import LakefsProvider
from mlflow_dsver.providers.lakefs.emulator import LakefsEmulator
from mlflow_dsver.testing import EMULATED_KEY

FILES = {"train/a.csv": b"a,b\n1,2\n", "train/b.bin": bytes(range(256)) * 8, "train/empty": b"", "other.csv": b"9"}


@pytest.fixture
def lakefs(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[LakefsEmulator]:
    """The emulator; its switches are given by indirect parametrisation."""
    monkeypatch.setenv("LAKECTL_CONFIG_FILE", str(tmp_path / "no-such-file.yaml"))
    with LakefsEmulator(key=EMULATED_KEY, switches=getattr(request, "param", {})) as emulator:
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def commit(lakefs: LakefsEmulator) -> str:
    """The first commit of the repository `digits`."""
    return lakefs.commit("digits", FILES, "first upload")


@pytest.fixture
def imported(lakefs: LakefsEmulator, commit: str) -> str:
    """A second commit, with an imported object."""
    return lakefs.commit("digits", {"train/in.csv": b"x,y\n5,6\n"}, "import", imported=["train/in.csv"])


@pytest.fixture
def provider(lakefs: LakefsEmulator) -> LakefsProvider:
    """The provider, with the environment of the test."""
    return LakefsProvider()
