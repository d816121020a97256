"""Training scripts that do not know of this package, with MLFLOW_DSVER_INPUTS: every run is linked, and nothing else
about them changes.

Each script runs as a process three times: bare, and with the variable on SQLite and on a real server. Frameworks that
are not installed are skipped with the reason; `pip install --group frameworks` installs all of them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from servers import Tracking
from training_code import ALL, REFERENCE, Script, lay_out, run_script

import mlflow_dsver as dsver

pytestmark = pytest.mark.slow

DIFFERENT_EACH_TIME = ("mlflow.runName", "mlflow.parentRunId", "mlflow.log-model.history", "mlflow.source.name")
"""Tags whose values are ids or made at random: that they are there is compared."""


@dataclass(frozen=True)
class Trained:
    """A script that has ended: exit code, output, its runs, and what these have of their own (see `_seen`)."""

    code: int
    out: str
    err: str
    runs: list[Any]
    seen: list[str]


bare_scripts: dict[str, Trained] = {}
"""How each script ended without this package's variable, on the store that was first: it is the same on all."""


@pytest.fixture(params=["sqlite", "server"])
def store(request: pytest.FixtureRequest) -> Tracking:
    """Each of the two tracking stores; in CI, which has a quarter of an hour, the server alone."""
    if os.environ.get("CI") and request.param == "sqlite":
        pytest.skip("CI runs training code on a server alone; `make frameworks` on both")
    return request.getfixturevalue({"sqlite": "tracking", "server": "server"}[request.param])


@pytest.fixture(params=ALL, ids=lambda script: script.name)
def script(request: pytest.FixtureRequest) -> Script:
    """Each script whose framework is installed."""
    missing = request.param.missing()
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    if os.environ.get("CI") and not request.param.ci:
        pytest.skip("not on CI; `make frameworks` runs it")
    return request.param


@pytest.mark.timeout(600)
def test_every_run_is_linked_once_and_nothing_else_changes(
    script: Script, store: Tracking, tmp_path: Path, run: Callable[..., Any]
) -> None:
    if script.name not in bare_scripts:
        bare_scripts[script.name] = _train(script, store, tmp_path / "bare", {})
    bare = bare_scripts[script.name]
    folder = lay_out(script, tmp_path / "linked")
    version = dsver.create_version(REFERENCE, folder / "data")
    linked = _train(script, store, folder, {"MLFLOW_DSVER_INPUTS": f"training={REFERENCE}"})

    assert linked.code == bare.code == 0, f"{bare.err}\n{linked.err}"
    assert linked.out == bare.out
    assert len(linked.runs) == len(bare.runs) == script.runs
    assert linked.seen == bare.seen

    assert [each.info.run_id for each in linked.runs if _links(each) != [("training", str(version.ref))]] == []
    ids = {each.info.run_id for each in linked.runs}
    using = {use.run_id for use in dsver.runs_using(version.ref)}
    assert using & {each.info.run_id for each in _runs(store)} == ids
    verified = run("verify", *ids, "--require", "A", "--require-links", "--json", MLFLOW_TRACKING_URI=store.uri)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _train(script: Script, store: Tracking, folder: Path, variables: dict[str, str]) -> Trained:
    client = MlflowClient()
    where = {
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_EXPERIMENT_NAME": client.get_experiment(store.experiment_id).name,
    }
    before = {run.info.run_id for run in _runs(store)}
    ended = run_script(script, folder if folder.exists() else lay_out(script, folder), {**where, **variables})
    runs = [run for run in _runs(store) if run.info.run_id not in before]
    out = re.sub(script.volatile_output, "…", ended.stdout.replace(str(folder), "FOLDER"))
    for run in runs:
        out = out.replace(run.info.run_id, "RUN")
    return Trained(ended.returncode, out, ended.stderr, runs, _seen(runs, script, folder))


def _runs(store: Tracking) -> list[Any]:
    return list(MlflowClient().search_runs([store.experiment_id], max_results=1000))


def _links(run: Any) -> list[tuple[str, str]]:
    """The links on a run: what its record says, which its dataset inputs must say once each."""
    recorded = [(link.role, str(link.version.ref)) for link in dsver.inputs_of(run.info.run_id)]
    inputs = [(each.tags[0].value, each.dataset.name) for each in run.inputs.dataset_inputs if _is_ours(each)]
    return recorded if sorted(inputs) == sorted(recorded) else [*recorded, *inputs]


def _is_ours(dataset_input: Any) -> bool:
    return bool(dataset_input.dataset.source_type == "dataset_version")


def _seen(runs: list[Any], script: Script, folder: Path) -> list[str]:
    """All that runs have of their own, without ids, random names and times, in an order of its own."""
    return sorted(json.dumps(_seen_run(run, script, folder), indent=1, sort_keys=True) for run in runs)


def _seen_run(run: Any, script: Script, folder: Path) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return (
            re.sub("0x[0-9a-f]{8,}", "0x…", value.replace(str(folder), "FOLDER")) if isinstance(value, str) else value
        )

    def own(values: dict[str, Any]) -> dict[str, Any]:
        return {
            key: plain(value)
            for key, value in values.items()
            if not re.match(r"dsver(\.|$)", key) and not re.search(script.volatile, key)
        }

    tags = own(run.data.tags)
    return {
        "status": run.info.status,
        "params": own(run.data.params),
        "metrics": own(run.data.metrics),
        "tags": {key: "…" if key in DIFFERENT_EACH_TIME else value for key, value in tags.items()},
        "inputs": [
            own(
                {
                    "name": each.dataset.name,
                    "digest": each.dataset.digest,
                    "contexts": [tag.value for tag in each.tags],
                }
            )
            for each in run.inputs.dataset_inputs
            if not _is_ours(each)
        ],
        "artifacts": sorted(own({each.path: "" for each in MlflowClient().list_artifacts(run.info.run_id)})),
    }
