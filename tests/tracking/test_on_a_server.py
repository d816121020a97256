"""Linking through a real tracking server: what it costs, the race of first use, and servers that are down or die."""

from __future__ import annotations

import io
import os
import secrets
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from servers import LONG
from tracking_fakes import version
from tracking_proxy import Proxy

import mlflow_dsver as dsver
from mlflow_dsver.errors import InputConflict, RunNotFound, TrackingError
from mlflow_dsver.model.manifests import FileEntry, Manifest, read
from mlflow_dsver.record import schema
from mlflow_dsver.tracking import async_logging, run_search


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    """MLflow speaks to the server through this; the first requests of a process are over."""
    with Proxy(server.uri) as proxy:
        mlflow.set_tracking_uri(proxy.address)
        with mlflow.start_run():
            mlflow.log_text("", "first.txt")
        proxy.log.clear()
        yield proxy
        proxy.dead, proxy.dead_from, proxy.hang = False, None, 0


def test_the_record_through_a_server(server, digits):
    """Two roles, files through the server's artifact proxy, and read back whole."""
    with dsver.start_run(inputs={"training": "local://digits", "test": "local://digits@clean"}) as run:
        pass
    links = dsver.inputs_of(run.info.run_id)
    assert [(link.role, link.version) for link in links] == [("test", digits), ("training", digits)]
    found = MlflowClient().get_run(run.info.run_id)
    assert found.data.params["dsver.training.usage_bytes"] == str(digits.usage_bytes)
    assert {role for _, _, role in schema.inputs_present(found)} == {"training", "test"}
    card = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/dsver/card.md")
    assert str(digits) in card


def test_what_a_linked_start_costs(proxy, digits):
    """Beyond MLflow's own requests: log-batch, log-inputs, one search, and one upload a file."""
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        assert run.inputs.dataset_inputs
        linked = proxy.calls()
    assert linked == [
        "POST runs/create",
        "POST runs/log-batch",
        "POST runs/log-inputs",
        "POST runs/search",
        *["PUT artifact"] * 3,
    ]
    proxy.log.clear()
    with dsver.start_run(inputs={"training": "local://digits", "test": "local://digits"}) as run:
        assert run.inputs.dataset_inputs
        again = proxy.calls()
    assert Counter(again) == Counter([*linked, *["PUT artifact"] * 2])


def test_what_use_and_reading_cost(proxy, digits):
    with mlflow.start_run() as run:
        proxy.log.clear()
        dsver.use("local://digits")
        assert proxy.calls() == [
            "POST runs/log-batch",
            "POST runs/log-inputs",
            "POST runs/search",
            *["PUT artifact"] * 3,
        ]
    proxy.log.clear()
    dsver.inputs_of(run.info.run_id)
    assert proxy.calls() == ["GET runs/get", "GET artifact"]
    proxy.log.clear()
    assert len(list(dsver.runs_using("local://digits"))) >= 1
    asked = [call.partition(" ")[2] for call in proxy.calls()]
    # datasets are asked for a number of experiments at a time, and other tests have theirs on this server
    assert list(dict.fromkeys(asked)) == ["experiments/search", "experiments/search-datasets", "runs/search"]
    assert (asked[0], asked.count("experiments/search")) == ("experiments/search", 1)
    client = MlflowClient()
    others, _ = run_search.other_names(client, [each.experiment_id for each in client.search_experiments()])
    assert asked.count("runs/search") == 2 + bool(others), "one search more for inputs of other tests, if any"


def test_the_first_use_of_a_dataset_by_many_threads(server, fake):
    """MLflow answers the losers of the race with a bad request; no link is lost for it."""
    name = f"race-{secrets.token_hex(4)}"
    for attempt in range(2):
        fake.has(version(name, f"v{attempt}"))

        def start(index: int, ref: str = f"fake://{name}@v{attempt}") -> str:
            with dsver.start_run(inputs={"training": ref, "test": ref}) as run:
                return run.info.run_id

        with ThreadPoolExecutor(16) as threads:
            run_ids = list(threads.map(start, range(16)))
        for run_id in run_ids:
            present = schema.inputs_present(MlflowClient().get_run(run_id))
            assert sorted(role for _, _, role in present) == ["test", "training"]


def test_the_first_use_of_a_dataset_by_many_processes(server, digits, prepared):
    script = (
        "import sys, mlflow, mlflow_dsver as dsver\n"
        "mlflow.set_experiment(experiment_id=sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "with dsver.start_run(inputs={'training': 'local://digits'}) as run: print('RUN', run.info.run_id)\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    processes = [
        subprocess.Popen(
            [*prepared.python, "-c", script, server.experiment_id],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(6)
    ]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 6
    answers = [threading.Thread(target=process.communicate, args=("\n",)) for process in processes]
    for answer in answers:
        answer.start()
    for answer in answers:
        answer.join()
    assert [process.returncode for process in processes] == [0] * 6
    runs = MlflowClient().search_runs([server.experiment_id], f"dataset.name = '{digits}'")
    assert len(runs) == 6


def test_ranks_of_one_run_may_link_it_at_the_same_time(server, digits):
    with mlflow.start_run() as run:
        pass

    def rank(_: int) -> str:
        with dsver.start_run(inputs={"training": "local://digits"}, run_id=run.info.run_id) as mine:
            return str(mine.datasets["training"])

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(rank, range(8))) == {str(digits)}
    assert len(MlflowClient().get_run(run.info.run_id).inputs.dataset_inputs) == 1


def test_conflicts_and_missing_runs_through_a_server(server, digits, fake):
    fake.has(version())
    with mlflow.start_run() as run:
        dsver.use("local://digits")
        with pytest.raises(InputConflict) as caught:
            dsver.use("fake://cats")
    assert caught.value.details == {"dsver.training.version": (str(digits), "fake://cats@v1")}
    with pytest.raises(InputConflict):
        dsver.start_run(inputs={"training": "fake://cats"}, run_id=run.info.run_id)
    for run_id in ("0" * 32, "x y"):
        with pytest.raises(RunNotFound):
            dsver.inputs_of(run_id)


def test_a_server_that_takes_no_dataset_inputs_gets_params_and_tags_and_the_run_says_so(proxy, digits, caplog):
    proxy.missing = ("runs/log-inputs",)
    with dsver.start_run(inputs={"training": "local://digits"}) as run:
        pass
    found = MlflowClient().get_run(run.info.run_id)
    assert found.data.tags["dsver.error"].startswith("this tracking server takes no dataset inputs")
    assert found.data.params["dsver.training.version"] == str(digits)
    assert "takes no dataset inputs" in caplog.text
    assert dsver.inputs_of(run.info.run_id)[0].version == digits
    assert run.info.run_id in {use.run_id for use in dsver.runs_using(digits)}
    assert run.info.run_id in {use.run_id for use in dsver.runs_using("local://digits", role="training")}


@pytest.mark.parametrize("policy", ["raise", "warn"])
def test_a_server_that_is_down_holds_nobody_for_long(monkeypatch, digits, unused_port, policy):
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "1.5")
    address = f"http://127.0.0.1:{unused_port}"
    mlflow.set_tracking_uri(address)
    begun = time.monotonic()
    with pytest.raises(TrackingError, match=rf"{address}/? did not answer in time.*within 1.5 seconds"):
        dsver.start_run(inputs={"training": "local://digits"}, on_error=policy)
    for call in (
        lambda: dsver.inputs_of("0" * 32),
        lambda: list(dsver.runs_using("local://digits")),
        lambda: dsver.attach("0" * 32, "local://digits"),
        lambda: dsver.use("local://digits"),
    ):
        with pytest.raises(TrackingError, match="did not answer in time"):
            call()
    assert time.monotonic() - begun < LONG
    assert mlflow.active_run() is None


def test_a_server_that_accepts_and_never_answers_holds_nobody_for_long(monkeypatch, digits):
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        mlflow.set_tracking_uri(f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(TrackingError, match="did not answer in time"):
            dsver.start_run(inputs={"training": "local://digits"})
        assert time.monotonic() - begun < LONG


def test_an_address_shows_no_password(monkeypatch, digits, unused_port):
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "0.5")
    mlflow.set_tracking_uri(f"http://user:hunter2@127.0.0.1:{unused_port}")
    with pytest.raises(TrackingError) as caught:
        dsver.start_run(inputs={"training": "local://digits"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("step", ["runs/log-batch", "runs/log-inputs", "runs/search", "card.md"])
def test_a_server_that_dies_in_between_is_an_error_within_the_bound(proxy, digits, monkeypatch, step):
    """Under `raise`, not in the background: the start fails; nothing waits for MLflow's minutes of retries."""
    monkeypatch.setenv("MLFLOW_DSVER_BACKGROUND", "no")
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "2")
    monkeypatch.setattr(async_logging, "TAG_TIMEOUT", 1.0)
    proxy.dead_from = step
    begun = time.monotonic()
    with pytest.raises(TrackingError, match="did not answer in time"):
        dsver.start_run(inputs={"training": "local://digits"})
    assert time.monotonic() - begun < LONG
    assert mlflow.active_run() is None


def test_a_server_that_comes_back_is_told_what_failed(proxy, digits, monkeypatch):
    """Under `warn` training goes on, and the run says what is missing as soon as the server hears it again."""
    monkeypatch.setenv("MLFLOW_DSVER_TRACKING_TIMEOUT", "2")
    monkeypatch.setattr(async_logging, "TAG_TIMEOUT", 1.0)
    proxy.dead_from = "runs/log-inputs"
    with dsver.start_run(inputs={"training": "local://digits"}, on_error="warn") as run:
        assert run.datasets["training"].path().is_dir()
        assert not run.inputs.dataset_inputs, "waits as long as it may"
        proxy.dead, proxy.dead_from = False, None
    assert "did not answer in time" in MlflowClient().get_run(run.info.run_id).data.tags["dsver.error"]


def test_a_record_that_comes_late_takes_back_that_it_failed(proxy, digits):
    """The bound was over, the run said so; then the server answered after all, and the record is whole."""
    proxy.hang = 0.5
    with dsver.start_run(inputs={"training": "local://digits"}, on_error="warn") as run:
        (made,) = [each for each in async_logging._open if each.run_id == run.info.run_id]
        made._fail(TrackingError("did not answer in time"))
        made._write_error_tags()
        assert made.result() is not None
        made.settle()
    assert made.failure is None
    assert "dsver.error" not in MlflowClient().get_run(run.info.run_id).data.tags


def test_runs_are_found_page_by_page(server, fake, monkeypatch):
    monkeypatch.setattr(run_search, "PAGE_SIZE", 2)
    name = f"pages-{secrets.token_hex(4)}"
    fake.has(version(name))
    run_ids = []
    for _ in range(5):
        with dsver.start_run(inputs={"training": f"fake://{name}"}) as run:
            run_ids.append(run.info.run_id)
    assert [use.run_id for use in dsver.runs_using(f"fake://{name}")] == run_ids[::-1]


def test_a_manifest_of_many_files_goes_up_whole(server, fake):
    fake.has(version("many"))
    fake.manifest_of = Manifest(tuple(FileEntry(f"{i:06}.png", i, f"{i:064x}") for i in range(20_000)))
    with dsver.start_run(inputs={"training": "fake://many"}) as run:
        pass
    path = mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/dsver/training.manifest.jsonl.gz")
    assert read(io.BytesIO(Path(path).read_bytes())).digest == fake.manifest_of.digest
