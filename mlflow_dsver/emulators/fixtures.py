"""Pytest fixtures with running emulators, for this package's tests and for users' own.

In a `conftest.py`: `from mlflow_dsver.testing import clarifai_emulator, paperspace_emulator`. The environment of the
test points at the emulator. Its arguments are given by indirect parametrisation:

    @pytest.mark.parametrize("paperspace_emulator", [{"seed": True, "faults": ["503:times=2"]}], indirect=True)
    def test_training_survives(paperspace_emulator): ...
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest

from mlflow_dsver.emulators.serving import Emulator
from mlflow_dsver.providers.clarifai.emulator import ClarifaiEmulator
from mlflow_dsver.providers.paperspace.emulator import PaperspaceEmulator

EMULATED_KEY = "emulated-key-0123456789"
Running = TypeVar("Running", bound=Emulator)


@pytest.fixture
def paperspace_emulator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PaperspaceEmulator]:
    """Paperspace on loopback, empty unless seeded, with PAPERSPACE_API_URL and PAPERSPACE_API_KEY set for it."""
    yield from _running(PaperspaceEmulator, request, monkeypatch)


@pytest.fixture
def clarifai_emulator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClarifaiEmulator]:
    """Clarifai on loopback, empty unless seeded, with CLARIFAI_API_BASE, _PAT, _USER_ID and _APP_ID set for it."""
    yield from _running(ClarifaiEmulator, request, monkeypatch)


def _running(
    kind: type[Running], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    with kind(**{"key": EMULATED_KEY, **getattr(request, "param", {})}) as emulator:
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        yield emulator
