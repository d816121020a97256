"""Pytest fixtures with running emulators, for this package's tests and for users' own.

In a `conftest.py`: `from mlflow_dsver.testing import paperspace_emulator`. The environment of the test points at the
emulator. Its arguments are given by indirect parametrisation:

    @pytest.mark.parametrize("paperspace_emulator", [{"seed": True, "faults": ["503:times=2"]}], indirect=True)
    def test_training_survives(paperspace_emulator): ...
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mlflow_dsver.emulators.paperspace import PaperspaceEmulator


@pytest.fixture
def paperspace_emulator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PaperspaceEmulator]:
    """Paperspace on loopback, empty unless seeded, with PAPERSPACE_API_URL and PAPERSPACE_API_KEY set for it."""
    arguments = {"key": "emulated-key-0123456789", **getattr(request, "param", {})}
    with PaperspaceEmulator(**arguments) as emulator:
        for name, value in emulator.variables.items():
            monkeypatch.setenv(name, value)
        yield emulator
