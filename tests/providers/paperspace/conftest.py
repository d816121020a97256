"""A running emulator, a provider for it without mounts, and the ids of what the demo's seed holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_dsver.providers.paperspace import PaperspaceProvider
from mlflow_dsver.providers.paperspace import provider as provider_module
from mlflow_dsver.providers.paperspace.client import PaperspaceClient, connect
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator
from mlflow_dsver.providers.paperspace.info import Account
from mlflow_dsver.providers.paperspace.local_files import Roots

KEY = "emulated-key-0123456789"


@pytest.fixture(autouse=True)
def no_known_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test told this process about folders is forgotten."""
    monkeypatch.setattr(provider_module, "_known_folders", {})
    monkeypatch.setattr(provider_module, "_created_from", {})


@pytest.fixture
def emulator() -> Iterator[PaperspaceEmulator]:
    with PaperspaceEmulator(key=KEY, seed=True) as emulator:
        yield emulator


@pytest.fixture
def provider(emulator: PaperspaceEmulator) -> PaperspaceProvider:
    return PaperspaceProvider(key=KEY, base=emulator.base, timeout=20, roots=Roots((), ()))


@pytest.fixture
def client(emulator: PaperspaceEmulator) -> Iterator[PaperspaceClient]:
    with connect(Account.from_settings(key=KEY, base=emulator.base, timeout=20)) as client:
        yield client
