"""An emulator of Clarifai for each test, a provider that points at it, and no configuration file of a person's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_dsver.providers.clarifai import ClarifaiProvider, account, polling
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator

PAT = "pat-0123456789abcdef"
APP_KEY = "key-fedcba9876543210"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No context of a person's, and no waiting longer than needed between two questions."""
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setattr(polling, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(polling, "LAST_PAUSE", 0.02)


@pytest.fixture
def emulator() -> Iterator[ClarifaiEmulator]:
    with ClarifaiEmulator(seed=True, key=PAT, app_key=APP_KEY) as running:
        yield running


@pytest.fixture
def provider(emulator: ClarifaiEmulator) -> ClarifaiProvider:
    """Signed with a personal access token, user and app in the settings."""
    signed = account(pat=PAT, user=emulator.user, app=emulator.app, base=emulator.address)
    return ClarifaiProvider(signed, wait_seconds=20)
