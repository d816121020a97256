"""Everything about a run goes through the client that it was started with, and is there when the call returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from tracking_fakes import run_of
from tracking_proxy import Proxy

import mlflow_dsver as dsver
from mlflow_dsver.errors import SettingsError
from mlflow_dsver.model.versions import Grade, Link, now
from mlflow_dsver.tracking import async_logging, clients, description, outbox, sync

ENDING = ["POST runs/update", "GET runs/get"]
"""What MLflow itself asks the current tracking URI for when a run ends."""


@pytest.fixture
def elsewhere(server: Any) -> Any:
    """A second tracking address; `calls` tells what it was asked for."""
    with Proxy(server.uri) as proxy:
        yield proxy


def test_the_record_of_a_run_goes_to_the_server_it_was_started_on(server, elsewhere, digits, monkeypatch):
    """Also what is written at its end, and what `use` adds while another server is the current one."""
    monkeypatch.setenv("MLFLOW_DSVER_SEAL", "stat")
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        mlflow.set_tracking_uri(elsewhere.address)
        async_logging.settle(run.info.run_id)
        dsver.use("local://digits", role="test")
    assert set(elsewhere.calls()) <= set(ENDING)
    mlflow.set_tracking_uri(server.uri)
    names = {each.path for each in MlflowClient().list_artifacts(run.info.run_id, "dsver")}
    assert {"dsver/card.md", "dsver/training.json", "dsver/test.json", "dsver/training.manifest.jsonl.gz"} <= names
    tags = run_of(run.info.run_id).data.tags
    assert "dsver.error" not in tags
    assert tags["dsver.training.sealed"].endswith(" same")


def test_artifacts_are_read_from_the_server_of_the_run(server, elsewhere, digits):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    mlflow.set_tracking_uri(elsewhere.address)
    link = dsver.inputs_of(run.info.run_id, tracking_uri=server.uri)[0]
    assert link.version == digits, "from the artifact, not from the params alone"
    assert elsewhere.calls() == []


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'sqlalchemy'"), mlflow.MlflowException("unsupported URI")],
    ids=["MLflow 2", "MLflow 3"],
)
def test_a_store_that_needs_the_whole_of_mlflow_is_told_in_one_line(monkeypatch, error):
    def refused(**_: object) -> None:
        raise error

    monkeypatch.setattr(clients, "MlflowClient", refused)
    monkeypatch.setattr(clients, "find_spec", lambda _: None)
    for uri in ("sqlite:///mlflow.db", "postgresql+psycopg2://me:secret@host/mlflow"):
        with pytest.raises(SettingsError, match="pip install mlflow, or set MLFLOW_TRACKING_URI") as caught:
            clients.new_client(uri)
        assert "secret" not in str(caught.value)
        mlflow.set_tracking_uri(uri)
        found = clients.health(1)
        assert (found.ok, found.summary) == (False, str(caught.value)), "doctor says the same"
    with pytest.raises(type(error)):
        clients.new_client("http://tracking.example")


@pytest.fixture
def asynchronous(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's asynchronous logging is switched on, and its queue never gets anything done."""
    from mlflow.store.tracking.abstract_store import AbstractStore

    monkeypatch.setattr(AbstractStore, "log_batch_async", lambda *_, **__: None)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_LOGGING", "true")


def test_with_asynchronous_logging_the_record_is_whole_when_it_is_read_back(tracking, digits, asynchronous):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    with mlflow.start_run() as used:
        dsver.use("local://digits")
    for each in (run, used):
        found = run_of(each.info.run_id)
        assert found.data.params["dsver.training.version"] == str(digits)
        assert "dsver.error" not in found.data.tags


def test_with_asynchronous_logging_what_is_put_on_a_run_later_is_there_at_once(tracking, digits, asynchronous):
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    dsver.seal(run.info.run_id)
    description.describe(run.info.run_id)
    tags = run_of(run.info.run_id).data.tags
    assert tags["dsver.training.sealed"].endswith(" same")
    assert "**Data**" in tags[description.NOTE]


def test_sync_sends_to_the_server_of_the_entry(server, elsewhere, digits):
    with mlflow.start_run() as run:
        pass
    made = Link("training", "local://digits", digits, Grade("A"), now())
    ticket = outbox.put(outbox.PendingRecord(run.info.run_id, run.info.experiment_id, server.uri, (made,)))
    assert ticket is not None
    ticket.release()
    mlflow.set_tracking_uri(elsewhere.address)
    assert [each.state for each in sync.sync()] == [sync.State.SENT]
    assert elsewhere.calls() == []
    assert not Path(ticket.path).exists()
