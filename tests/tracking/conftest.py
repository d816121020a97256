"""The fake provider, installed for a test; and what the tests of linking read again and again."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tracking_fakes import FakeProvider
from training_scripts import server_proxy, train  # noqa: F401  (fixtures)

from mlflow_dsver.providers import registry
from mlflow_dsver.testing import clarifai_emulator, paperspace_emulator  # noqa: F401  (fixtures)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeProvider]]:
    """The scheme `fake` is an installed provider that knows nothing yet."""
    real = registry._entry_points()
    point = EntryPoint("fake", "tracking_fakes:FakeProvider", registry.GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: {**real, "fake": point})
    monkeypatch.setattr(FakeProvider, "known", {})
    monkeypatch.setattr(FakeProvider, "failure", None)
    monkeypatch.setattr(FakeProvider, "manifest_of", None)
    return FakeProvider


@pytest.fixture
def digits(digits_folder: Path) -> object:
    """The first version of `local://digits`, tagged `clean`."""
    import mlflow_dsver as dsver

    return dsver.create_version("local://digits", digits_folder, message="first", tags=["clean"])
