"""The Hub's emulator, with the variables and an empty home of the Hub's tools, and its real client."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_files import DIGITS, FILES, LARGE

from mlflow_dsver.providers.hf import HfProvider
from mlflow_dsver.providers.hf.emulator import HfEmulator
from mlflow_dsver.testing import EMULATED_KEY


@pytest.fixture
def hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HfEmulator]:
    """The emulator; its switches are given by indirect parametrisation."""
    with HfEmulator(key=EMULATED_KEY, switches=getattr(request, "param", {})) as emulator:
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def commit(hub: HfEmulator) -> str:
    """The first commit of a dataset with two small files and a large one."""
    return hub.commit(DIGITS, FILES, "first upload", large=LARGE)


@pytest.fixture
def provider(hub: HfEmulator) -> HfProvider:
    """The provider, with the environment of the test."""
    return HfProvider()


@pytest.fixture
def client(hub: HfEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module huggingface_hub, which reads its variables when it is imported, with those of this test."""
    library = pytest.importorskip("huggingface_hub")
    constants = importlib.import_module("huggingface_hub.constants")
    monkeypatch.setattr(constants, "ENDPOINT", hub.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf-home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    return library
