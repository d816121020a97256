"""Short HTTP timeouts hold for one call, and for no other thread, child process or setting."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.environment_variables import MLFLOW_HTTP_REQUEST_MAX_RETRIES, MLFLOW_HTTP_REQUEST_TIMEOUT

from mlflow_dsver.deadlines import Deadline
from mlflow_dsver.errors import TrackingError
from mlflow_dsver.tracking.active_run import start_with_retry
from mlflow_dsver.tracking.mlflow_private import short_http_timeouts


def settings() -> tuple[int, int]:
    return MLFLOW_HTTP_REQUEST_MAX_RETRIES.get(), MLFLOW_HTTP_REQUEST_TIMEOUT.get()


def in_another_thread() -> tuple[int, int]:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(settings()))
    thread.start()
    thread.join()
    return seen[0]


def test_while_a_run_starts_other_threads_and_children_keep_mlflows_own_http_settings(monkeypatch):
    plain, environment, seen = settings(), dict(os.environ), {}

    def start() -> str:
        seen.update(here=settings(), there=in_another_thread(), environment=dict(os.environ))
        return "run"

    client = SimpleNamespace(tracking_uri="http://tracking.example")
    assert start_with_retry(client, start, Deadline(60)) == "run"
    retries, timeout = seen["here"]
    assert retries == 1
    assert 15 <= timeout <= 30, "two attempts within the minute"
    assert seen["there"] == plain
    assert seen["environment"] == environment
    assert settings() == plain


def test_what_a_person_set_holds_outside_the_block(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    with short_http_timeouts(0.2, retries=0):
        assert settings() == (0, 1)
        with short_http_timeouts(9):
            assert settings() == (1, 9)
        assert settings()[0] == 0
        assert in_another_thread()[0] == 3
    assert settings()[0] == 3


def test_a_server_that_does_not_answer_is_given_up_in_time(unused_port, monkeypatch):
    """With MLflow's own patience one call to a closed port takes 246 seconds."""
    mlflow.set_tracking_uri(f"http://127.0.0.1:{unused_port}")
    client = mlflow.MlflowClient()
    with pytest.raises(TrackingError, match="did not answer in time; it was asked to start a run"):
        start_with_retry(client, mlflow.start_run, Deadline(0.5))
