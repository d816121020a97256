"""Training scripts as processes against a real server, through a proxy that writes down each request."""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from mlflow import MlflowClient
from tracking_fakes import run_of
from tracking_proxy import Proxy

import mlflow_dsver as dsver

INPUTS = {"MLFLOW_DSVER_INPUTS": "training=local://digits"}
BARE: dict[str, str] = {}


@dataclass(frozen=True)
class Trained:
    """A script that has ended: exit code, output, and the runs that it made, oldest first."""

    code: int
    out: str
    err: str
    runs: list[Any]
    calls: list[str]


Train = Callable[..., Trained]


@pytest.fixture
def server_proxy(server) -> Iterator[Proxy]:
    with Proxy(server.uri) as proxy:
        yield proxy


@pytest.fixture
def train(server, server_proxy, tmp_path, digits, prepared) -> Train:
    """`train(script, INPUTS, policy…)`: run the script as a process through the proxy, in the test's experiment."""

    proxy = server_proxy

    def call(
        script: str, variables: dict[str, str], *, when: Callable[[Any], None] | None = None, **more: str
    ) -> Trained:
        path = tmp_path / "train.py"
        path.write_text(textwrap.dedent(script))
        before = {run.info.run_id for run in runs(server.experiment_id)}
        proxy.log.clear()
        process = subprocess.Popen(
            [*prepared.python, "-W", "ignore", str(path)],
            cwd=tmp_path,
            env={**os.environ, **variables, **more, **client_settings(proxy.address, server.experiment_id)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            if when is not None:
                when(process)
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
        calls = proxy.calls()
        made = [run for run in runs(server.experiment_id) if run.info.run_id not in before]
        return Trained(process.returncode, out, err, sorted(made, key=lambda run: run.info.start_time), calls)

    return call


def client_settings(address: str, experiment_id: str) -> dict[str, str]:
    return {
        "MLFLOW_TRACKING_URI": address,
        "MLFLOW_EXPERIMENT_ID": experiment_id,
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }


def until(what: Callable[[], object], seconds: float = 90) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def runs(experiment_id: str) -> list[Any]:
    return list(MlflowClient().search_runs([experiment_id], max_results=1000))


def links(run: Any) -> dict[str, str]:
    """Role to version of a run whose record is whole: params if any, tags, inputs and artifacts agree."""
    found = dsver.inputs_of(run.info.run_id)
    fresh = run_of(run.info.run_id)
    assert "dsver.error" not in fresh.data.tags
    inputs = {
        tag.value: each.dataset.name for each in fresh.inputs.dataset_inputs for tag in each.tags if each.dataset.name
    }
    for link in found:
        assert fresh.data.tags[f"dsver.{link.role}.version"] == str(link.version.ref)
        assert fresh.data.params.get(f"dsver.{link.role}.version") in (None, str(link.version.ref))
        assert inputs[link.role] == str(link.version.ref)
        assert link.version.raw or link.version.created, "from the artifact, not from the tags alone"
    return {link.role: str(link.version.ref) for link in found}
