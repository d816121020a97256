"""The Clarifai provider keeps the provider contract, whatever the answer to each question that documents leave."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_dsver.model.versions import DatasetVersion
from mlflow_dsver.providers.clarifai import ClarifaiProvider, account, polling
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator
from mlflow_dsver.providers.clarifai.emulator.responses import SWITCHES
from mlflow_dsver.providers.interface import Provider
from mlflow_dsver.testing import Known, ProviderContract

FAILING = {"outcome", "export-outcome", "in-use"}
"""Switches whose other settings make things fail; tests/providers/clarifai has what must be said then."""
SETTINGS = [("", "")] + [
    (switch.name, setting)
    for switch in SWITCHES
    if switch.name not in FAILING
    for setting in (*switch.settings[1:], *(("0", "3") if switch.numbers and "reads" in switch.name else ()))
]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("MLFLOW_DSVER_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setattr(polling, "FIRST_PAUSE", 0.005)
    monkeypatch.setattr(polling, "LAST_PAUSE", 0.02)


class Contract(ProviderContract):
    @pytest.fixture
    def known(self, provider: ClarifaiProvider, emulator: ClarifaiEmulator) -> Known:
        for name in ("first", "second", "third"):
            emulator.add_version("cats", id=name, metadata={"tags": ["clean"]} if name == "second" else {})
        dataset = f"{emulator.user}/{emulator.app}/cats"
        provider.path(provider.get(dataset, "third"))  # the files of a version are known once it was loaded
        return Known(dataset, ("third", "second", "first"), tag=("clean", "second"))

    def make(self, provider: Provider, dataset: str, folder: Path, **words: Any) -> DatasetVersion:
        """Versions are made of the inputs that a dataset has at Clarifai."""
        return provider.create(dataset, **words)

    @pytest.fixture
    def emulator(self, switches: dict[str, str]) -> Iterator[ClarifaiEmulator]:
        with ClarifaiEmulator(switches=switches) as running:
            running.add_dataset("cats")
            running.add_inputs("cats", [{"id": "one", "data": {"text": {"raw": "meow"}}}])
            yield running


@pytest.mark.parametrize("switches", [{name: value} if name else {} for name, value in SETTINGS], ids=str)
class TestClarifaiWithToken(Contract):
    @pytest.fixture
    def provider(self, emulator: ClarifaiEmulator) -> ClarifaiProvider:
        signed = account(pat="pat-any", user=emulator.user, app=emulator.app, base=emulator.address)
        return ClarifaiProvider(signed, wait_seconds=20)


@pytest.mark.parametrize("switches", [{}], ids=["defaults"])
class TestClarifaiWithAppKey(Contract):
    @pytest.fixture
    def provider(self, emulator: ClarifaiEmulator) -> ClarifaiProvider:
        return ClarifaiProvider(account(api_key="key-any", base=emulator.address), wait_seconds=20)
